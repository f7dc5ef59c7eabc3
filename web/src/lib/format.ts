/** Numbers as people read them. */

/** `83.6` seconds -> `"1:24"`; `3725` -> `"1:02:05"`: to the nearest second, as the command has it (of a half, to the even one). */
export function clock(seconds: number): string {
  const half = Math.floor(seconds) + 0.5 === seconds;
  return elapsed(half ? 2 * Math.round(seconds / 2) : Math.round(seconds));
}

/** How far something has played, which is a second when the second is over: `83.6` -> `"1:23"`. */
export function elapsed(seconds: number): string {
  const whole = Number.isFinite(seconds) ? Math.max(0, Math.floor(seconds)) : 0;
  const parts = [Math.floor(whole / 60) % 60, whole % 60];
  if (whole >= 3600) parts.unshift(Math.floor(whole / 3600));
  return parts.map((part, i) => (i ? String(part).padStart(2, "0") : String(part))).join(":");
}

/** `5400` seconds -> `"1 h 30 min"`; for lengths of playlists and libraries. */
export function span(seconds: number): string {
  const minutes = Math.round(seconds / 60);
  if (minutes < 1) return "under a minute";
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours >= 100) return `${count(hours)} h`;
  return minutes % 60 ? `${hours} h ${minutes % 60} min` : `${hours} h`;
}

/** `1234567` -> `"1 234 567"`, with a narrow space that does not break. */
export function count(n: number): string {
  return String(Math.round(n)).replace(/\B(?=(\d{3})+$)/g, "\u202f");
}

/** `count(1)` and its noun: `"1 track"`, `"2 tracks"`. */
export function counted(n: number, one: string, many = `${one}s`): string {
  return `${count(n)} ${n === 1 ? one : many}`;
}

/** A similarity of 0 to 1 as a whole number of percent. */
export function percent(similarity: number): string {
  return `${Math.round(Math.min(1, Math.max(0, similarity)) * 100)}`;
}

/** `3e9` bytes -> `"3.0 GB"`. */
export function bytes(n: number): string {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let unit = 0;
  for (; n >= 1000 && unit < units.length - 1; unit++) n /= 1000;
  return `${unit === 0 || n >= 100 ? Math.round(n) : n.toFixed(1)} ${units[unit]}`;
}

/** Who made a track: its artist or, where no tag says, the folder that it lies in. */
export function maker(track: { artist: string; path: string }): string {
  return track.artist || track.path.split("/").at(-2) || "Unknown artist";
}

/** The part of a file's path that tells people where they are: its last two folders and its name. */
export function shortPath(path: string): string {
  const parts = path.split("/");
  return parts.length > 3 ? `…/${parts.slice(-3).join("/")}` : path;
}
