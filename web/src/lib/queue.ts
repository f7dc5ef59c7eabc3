/** What plays, what played and what comes: values and pure functions; the player holds one. */

export interface Entry<T> {
  /** Tells apart two times the same track. */
  readonly key: number;
  readonly track: T;
}

export interface Queue<T> {
  readonly entries: readonly Entry<T>[];
  /** Which one plays; -1 when none does. */
  readonly at: number;
}

export const EMPTY: Queue<never> = { entries: [], at: -1 };

let lastKey = 0;

function entry<T>(track: T): Entry<T> {
  return { key: ++lastKey, track };
}

/** A queue of these tracks, with the one at `start` playing. */
export function of<T>(tracks: readonly T[], start = 0): Queue<T> {
  return { entries: tracks.map(entry), at: tracks.length ? Math.min(start, tracks.length - 1) : -1 };
}

/** Puts tracks at the end. */
export function append<T>(queue: Queue<T>, tracks: readonly T[]): Queue<T> {
  return { entries: [...queue.entries, ...tracks.map(entry)], at: queue.at };
}

/** Puts tracks right behind the one that plays. */
export function insertNext<T>(queue: Queue<T>, tracks: readonly T[]): Queue<T> {
  const entries = [...queue.entries];
  entries.splice(queue.at + 1, 0, ...tracks.map(entry));
  return { entries, at: queue.at };
}

/** Takes one out. When it is the one that plays, the next takes its place. */
export function remove<T>(queue: Queue<T>, key: number): Queue<T> {
  const where = queue.entries.findIndex((each) => each.key === key);
  if (where < 0) return queue;
  const entries = queue.entries.filter((each) => each.key !== key);
  const at = where < queue.at ? queue.at - 1 : Math.min(queue.at, entries.length - 1);
  return { entries, at };
}

/** Moves one to another place; what plays goes on playing. */
export function move<T>(queue: Queue<T>, from: number, to: number): Queue<T> {
  const entries = moved(queue.entries, from, to);
  const playing = queue.entries[queue.at];
  return { entries, at: playing ? entries.indexOf(playing) : queue.at };
}

/** The one that plays. */
export function current<T>(queue: Queue<T>): Entry<T> | undefined {
  return queue.entries[queue.at];
}

/** The one after it. */
export function upcoming<T>(queue: Queue<T>): Entry<T> | undefined {
  return queue.entries[queue.at + 1];
}

/** Goes `by` places on, or back; the same queue when there is nothing there. */
export function step<T>(queue: Queue<T>, by: number): Queue<T> {
  const at = queue.at + by;
  return at >= 0 && at < queue.entries.length ? { entries: queue.entries, at } : queue;
}

/** Keeps what plays and what played, and drops what was to come. */
export function cut<T>(queue: Queue<T>): Queue<T> {
  return { entries: queue.entries.slice(0, queue.at + 1), at: queue.at };
}

/** A list with one of its items moved to another place. */
export function moved<T>(list: readonly T[], from: number, to: number): T[] {
  const rest = [...list];
  const [item] = rest.splice(from, 1);
  if (item !== undefined) rest.splice(Math.max(0, to), 0, item);
  return rest;
}
