/** Colours of the map: told apart by people who see few, on light and on dark paper. */

export type Rgb = readonly [number, number, number];

/** Twelve hues of like lightness; what has more kinds gets grey for the rest. */
export const KINDS: readonly string[] = [
  "#d9633b", "#3b82c4", "#4f9d5d", "#a05cc0", "#c49a1f", "#2aa5a0",
  "#d0588f", "#7a8f2a", "#6a6fd0", "#b5653a", "#3f9ac9", "#a8487a",
];
export const REST = "#8d8a85";

/** Viridis at six places, for what runs from low to high. */
const RAMP: readonly string[] = ["#443983", "#31688e", "#21918c", "#35b779", "#90d743", "#fde725"];

export function rgb(hex: string): Rgb {
  const n = parseInt(hex.slice(1), 16);
  return [n >> 16, (n >> 8) & 255, n & 255];
}

/** The colour of a number from 0 to 1. */
export function ramp(at: number): Rgb {
  const place = Math.min(1, Math.max(0, at)) * (RAMP.length - 1);
  const low = Math.min(RAMP.length - 2, Math.floor(place));
  const [a, b] = [rgb(RAMP[low]!), rgb(RAMP[low + 1]!)];
  const part = place - low;
  return [0, 1, 2].map((c) => Math.round(a[c]! + (b[c]! - a[c]!) * part)) as unknown as Rgb;
}

export interface Legend {
  readonly name: string;
  readonly colour: string;
  readonly tracks: number;
}

/**
 * Gives every kind a colour, the most frequent first.
 *
 * @param labels one per track; "" is not known
 */
export function coloured(labels: readonly string[]): { of: (label: string) => string; legend: Legend[] } {
  const tally = new Map<string, number>();
  for (const label of labels) tally.set(label, (tally.get(label) ?? 0) + 1);
  const known = [...tally].filter(([name]) => name).sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1));
  const chosen = new Map(known.slice(0, KINDS.length).map(([name], i) => [name, KINDS[i]!]));
  const legend = known.slice(0, KINDS.length).map(([name, tracks], i) => ({ name, colour: KINDS[i]!, tracks }));
  const rest = labels.length - legend.reduce((sum, each) => sum + each.tracks, 0);
  if (rest) legend.push({ name: known.length > KINDS.length ? "others" : "not known", colour: REST, tracks: rest });
  return { of: (label) => chosen.get(label) ?? REST, legend };
}
