/** Which key does what, everywhere in the app. */

export type Action =
  | "toggle"
  | "next"
  | "previous"
  | "forward"
  | "back"
  | "louder"
  | "quieter"
  | "mute"
  | "like"
  | "dislike"
  | "queue"
  | "search"
  | "help";

/** What a key event says; the part of `KeyboardEvent` that matters. */
export interface Press {
  key: string;
  shiftKey: boolean;
  ctrlKey: boolean;
  metaKey: boolean;
  altKey: boolean;
}

const PLAIN: Readonly<Record<string, Action>> = {
  " ": "toggle",
  k: "toggle",
  ArrowRight: "forward",
  ArrowLeft: "back",
  ArrowUp: "louder",
  ArrowDown: "quieter",
  n: "next",
  p: "previous",
  l: "like",
  d: "dislike",
  m: "mute",
  q: "queue",
  "/": "search",
  "?": "help",
};
const SHIFTED: Readonly<Record<string, Action>> = { ArrowRight: "next", ArrowLeft: "previous", "?": "help" };

/** For the page of help: keys and what they do. */
export const SHORTCUTS: readonly (readonly [string, string])[] = [
  ["Space", "play or pause"],
  ["← →", "five seconds back or on"],
  ["Shift ← →", "previous or next track"],
  ["↑ ↓", "louder or quieter"],
  ["L", "like what plays"],
  ["D", "dislike it, and go on"],
  ["M", "mute"],
  ["Q", "show the queue"],
  ["/", "search"],
  ["?", "this list"],
];

/**
 * What a key means.
 *
 * @param press the key
 * @param within what has the focus: text is typed into `"text"`, `"control"`s use space and plain arrows themselves
 */
export function actionOf(press: Press, within: "text" | "control" | "page"): Action | undefined {
  if (press.ctrlKey || press.metaKey || press.altKey || within === "text") return undefined;
  const own = press.key === " " || (press.key.startsWith("Arrow") && !press.shiftKey);
  if (within === "control" && own) return undefined;
  const key = press.key.length === 1 ? press.key.toLowerCase() : press.key;
  return press.shiftKey ? SHIFTED[key] : PLAIN[key];
}

const OWN_KEYS = 'a[href], button, select, summary, [role="slider"], [role="menu"], [tabindex="0"], audio, video';
const TEXT = 'textarea, [contenteditable="true"], input:not([type="checkbox"], [type="radio"], [type="button"], [type="range"])';

/** What kind of thing has the focus. */
export function kindOf(target: EventTarget | null): "text" | "control" | "page" {
  if (!(target instanceof Element)) return "page";
  if (target.closest(TEXT)) return "text";
  return target.closest(`${OWN_KEYS}, input`) ? "control" : "page";
}
