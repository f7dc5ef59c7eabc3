/** Why a file was not taken in, as people say it; the kinds are those of the record. */

const WORDS: Readonly<Record<string, string>> = {
  decode: "cannot be decoded",
  silent: "silent",
  unreadable: "cannot be read",
  vanished: "gone, or a broken link",
  timeout: "took too long",
  crash: "crashed",
  damaged: "damaged, heard all the same",
};

export const inWords = (kind: string): string => WORDS[kind] ?? kind;
