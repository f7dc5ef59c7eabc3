/** A file from outside the library, and what is like it. The server keeps nothing of it. */

import { ApiError, upload } from "./api";
import { go, here, to } from "./router.svelte";
import { profile } from "./session.svelte";
import type { UploadAnswer } from "./types";

let file = $state.raw<File | null>(null);
let answer = $state.raw<UploadAnswer | null>(null);
let problem = $state("");
let busy = $state(false);
let asking: AbortController | undefined;

export const uploading = {
  get file() {
    return file;
  },
  get answer() {
    return answer;
  },
  get problem() {
    return problem;
  },
  get busy() {
    return busy;
  },
};

/** Sends a file and goes to where its answer appears. */
export function ask(chosen: File): void {
  file = chosen;
  answer = null;
  if (here().path[0] === "upload" && !here().params.size) void send([]);
  else go(to("upload")); // the page sends it
}

/** Asks again, e.g. with other filters. */
export async function send(filters: readonly string[]): Promise<void> {
  if (!file) return;
  asking?.abort();
  const mine = (asking = new AbortController());
  busy = true;
  problem = "";
  try {
    for (;;) {
      const form = new FormData();
      form.append("file", file);
      form.append("k", "30");
      form.append("profile", profile());
      for (const filter of filters) form.append("filters", filter);
      try {
        answer = await upload<UploadAnswer>("similar/upload", form, mine.signal);
        return;
      } catch (error) {
        if (!(error instanceof ApiError) || error.status !== 429) throw error;
        await new Promise((done) => setTimeout(done, (error.retryAfter || 2) * 1000));
        mine.signal.throwIfAborted();
      }
    }
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") return;
    answer = null;
    problem = error instanceof Error ? error.message : String(error);
  } finally {
    if (asking === mine) busy = false;
  }
}
