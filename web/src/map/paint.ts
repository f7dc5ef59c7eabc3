/** From what is known of tracks to the colours of their points. */

import { coloured, ramp, REST, rgb, type Legend, type Rgb } from "./colours";
import type { MapData } from "./data";

export const WAYS = [
  ["genre", "Genre"],
  ["cluster", "Group"],
  ["tempo", "Tempo"],
  ["energy", "Energy"],
  ["year", "Year"],
  ["mine", "Mine"],
] as const;
export type Way = (typeof WAYS)[number][0];

export interface Painting {
  /** Colour of every point. */
  readonly of: (i: number) => Rgb;
  readonly legend: readonly Legend[];
  /** Which entry of the legend a point belongs to; none for ramps. */
  readonly kind?: (i: number) => string;
  /** Ends of a ramp, for people. */
  readonly ends?: readonly [string, string];
}

const MINE = { liked: "#c2410c", disliked: "#57534e", played: "#3b82c4", "never played": REST };

/** Chooses the colours for one way of looking. */
export function painting(data: MapData, way: Way, verdictOf: (i: number) => number): Painting {
  if (way === "genre" || way === "cluster") {
    const names = way === "genre" ? data.genres : data.clusters;
    const column = data[way];
    const kind = (i: number) => names[column[i]!] ?? "";
    const { of, legend } = coloured(Array.from({ length: data.count }, (_, i) => kind(i)));
    const known = new Map(names.map((name) => [name, rgb(of(name))]));
    const rest = rgb(REST);
    const shown = new Set(legend.map((each) => each.name));
    const other = legend.at(-1)?.colour === REST ? legend.at(-1)!.name : "";
    return { of: (i) => known.get(kind(i)) ?? rest, legend, kind: (i) => (shown.has(kind(i)) ? kind(i) : other) };
  }
  if (way === "mine") {
    const kind = (i: number) => (["", "liked", "disliked"] as const)[verdictOf(i)] || (data.played[i] ? "played" : "never played");
    const colours = Object.fromEntries(Object.entries(MINE).map(([name, hex]) => [name, rgb(hex)])) as Record<keyof typeof MINE, Rgb>;
    const tally = new Map<string, number>();
    for (let i = 0; i < data.count; i++) tally.set(kind(i), (tally.get(kind(i)) ?? 0) + 1);
    const legend = Object.entries(MINE).map(([name, colour]) => ({ name, colour, tracks: tally.get(name) ?? 0 }));
    return { of: (i) => colours[kind(i)], legend, kind };
  }
  const column = data[way];
  const isKnown = (value: number) => (way === "energy" ? value >= 0 : value > 0);
  const known = Float32Array.from(column).filter(isKnown).sort();
  // The outermost hundredths do not stretch the ramp.
  const [low, high] = [known[Math.floor(known.length * 0.01)] ?? 0, known[Math.floor(known.length * 0.99)] ?? 1];
  const rest = rgb(REST);
  const words = (value: number) => (way === "tempo" ? `${Math.round(value)} bpm` : way === "year" ? String(value) : value < (low + high) / 2 ? "calm" : "loud");
  return {
    of: (i) => (isKnown(column[i]!) ? ramp((column[i]! - low) / (high - low || 1)) : rest),
    legend: [],
    ends: [words(low), words(high)],
  };
}
