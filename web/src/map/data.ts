/** The map as the server sends it: columns of numbers, one behind the other. */

export interface MapData {
  readonly count: number;
  readonly method: string;
  readonly ids: BigUint64Array;
  /** x and y of every track, one behind the other, 0 to 1, y down. */
  readonly places: Float32Array;
  readonly genre: Uint16Array;
  readonly cluster: Uint16Array;
  readonly artist: Uint32Array;
  readonly tempo: Float32Array;
  readonly energy: Float32Array;
  readonly year: Uint16Array;
  readonly verdict: Uint8Array;
  readonly played: Uint8Array;
  readonly genres: readonly string[];
  readonly clusters: readonly string[];
  readonly artists: readonly string[];
}

const KINDS = { u64: BigUint64Array, f32: Float32Array, u32: Uint32Array, u16: Uint16Array, u8: Uint8Array };

interface Head {
  method: string;
  count: number;
  columns: Record<string, { type: keyof typeof KINDS; at: number }>;
  genres: string[];
  clusters: string[];
  artists: string[];
}

/** Reads what the route `/map` answers; nothing is copied but the places. */
export function parsed(buffer: ArrayBuffer): MapData {
  const length = new DataView(buffer).getUint32(0, true);
  const head = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length))) as Head;
  const column = <T>(name: string): T => {
    const { type, at } = head.columns[name]!;
    return new KINDS[type](buffer, 4 + length + at, head.count) as T;
  };
  const [x, y] = [column<Float32Array>("x"), column<Float32Array>("y")];
  const places = new Float32Array(2 * head.count);
  for (let i = 0; i < head.count; i++) {
    places[2 * i] = (x[i]! + 1) / 2;
    places[2 * i + 1] = (1 - y[i]!) / 2;
  }
  return {
    count: head.count,
    method: head.method,
    ids: column("id"),
    places,
    genre: column("genre"),
    cluster: column("cluster"),
    artist: column("artist"),
    tempo: column("tempo"),
    energy: column("energy"),
    year: column("year"),
    verdict: column("verdict"),
    played: column("played"),
    genres: head.genres,
    clusters: head.clusters,
    artists: head.artists,
  };
}

/** The id of a track as the rest of the API writes it. */
export const idOf = (data: MapData, i: number): string => data.ids[i]!.toString(16).padStart(16, "0");

/** Finds tracks on the map by id. */
export function byId(data: MapData): (id: string) => number | undefined {
  const where = new Map<bigint, number>();
  for (let i = 0; i < data.count; i++) where.set(data.ids[i]!, i);
  return (id) => where.get(BigInt(`0x${id}`));
}

export interface Label {
  readonly text: string;
  readonly x: number;
  readonly y: number;
  readonly tracks: number;
}

/** Where the name of each group belongs: over the middle of its points; the largest first. */
export function labels(data: MapData): Label[] {
  const members: number[][] = data.clusters.map(() => []);
  for (let i = 0; i < data.count; i++) members[data.cluster[i]!]?.push(i);
  const middle = (of: number[], axis: 0 | 1, part: number): number => {
    const sorted = Float32Array.from(of, (i) => data.places[2 * i + axis]!).sort();
    return sorted[Math.floor(sorted.length * part)]!;
  };
  return members
    .map((of, c) => ({ text: data.clusters[c]!, tracks: of.length, x: of.length ? middle(of, 0, 0.5) : 0, y: of.length ? middle(of, 1, 0.1) : 0 }))
    .filter((label) => label.tracks)
    .sort((a, b) => b.tracks - a.tracks);
}
