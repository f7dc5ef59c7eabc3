/** What is only asked of a library with music in it: an empty one has no map, no groups, nothing twice. */

import { get } from "./api";
import type { Status } from "./types";

/** Asks where there is music, and answers null where nothing is indexed yet. */
export async function ofMusic<T>(ask: () => Promise<T>, signal: AbortSignal): Promise<T | null> {
  const { tracks } = await get<Status>("status", {}, signal);
  return tracks ? ask() : null;
}
