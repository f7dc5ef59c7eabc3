/** The plane of the map: finding points on it fast, and loops drawn by hand. */

export interface Point {
  readonly x: number;
  readonly y: number;
}

/** Buckets of points in the unit square; answers "which is nearest to here" without looking at all of them. */
export class Grid {
  readonly #side: number;
  readonly #starts: Uint32Array;
  readonly #order: Uint32Array;
  readonly #places: Float32Array;

  /** @param places x and y of every point, one behind the other, 0 to 1 */
  constructor(places: Float32Array) {
    const n = places.length / 2;
    this.#places = places;
    this.#side = Math.max(1, Math.min(512, Math.ceil(Math.sqrt(n / 4))));
    this.#starts = new Uint32Array(this.#side ** 2 + 1);
    this.#order = new Uint32Array(n);
    const cells = new Uint32Array(n);
    for (let i = 0; i < n; i++) {
      const cell = this.#row(places[2 * i + 1] ?? 0) * this.#side + this.#row(places[2 * i] ?? 0);
      cells[i] = cell;
      this.#starts[cell + 1]!++;
    }
    for (let c = 0; c < this.#side ** 2; c++) this.#starts[c + 1]! += this.#starts[c]!;
    const next = this.#starts.slice();
    for (let i = 0; i < n; i++) this.#order[next[cells[i]!]!++] = i;
  }

  #row(at: number): number {
    return Math.min(this.#side - 1, Math.max(0, Math.floor(at * this.#side)));
  }

  /** The point nearest to (x, y) of those within `radius`, or -1. */
  nearest(x: number, y: number, radius: number, shown: (i: number) => boolean = () => true): number {
    let best = -1;
    let least = radius * radius;
    this.#each(x - radius, y - radius, x + radius, y + radius, (i) => {
      const far = (this.#places[2 * i]! - x) ** 2 + (this.#places[2 * i + 1]! - y) ** 2;
      if (far > least || !shown(i)) return;
      best = i;
      least = far;
    });
    return best;
  }

  /** The points inside a loop, which closes itself. */
  inside(loop: readonly Point[]): number[] {
    if (loop.length < 3) return [];
    const [xs, ys] = [loop.map((p) => p.x), loop.map((p) => p.y)];
    const found: number[] = [];
    this.#each(Math.min(...xs), Math.min(...ys), Math.max(...xs), Math.max(...ys), (i) => {
      if (isInside(loop, this.#places[2 * i]!, this.#places[2 * i + 1]!)) found.push(i);
    });
    return found;
  }

  #each(left: number, top: number, right: number, bottom: number, visit: (i: number) => void): void {
    const [first, last, lowest] = [this.#row(left), this.#row(right), this.#row(bottom)];
    for (let row = this.#row(top); row <= lowest; row++) {
      for (let column = first; column <= last; column++) {
        const cell = row * this.#side + column;
        for (let k = this.#starts[cell]!; k < this.#starts[cell + 1]!; k++) visit(this.#order[k]!);
      }
    }
  }
}

/** Whether a point lies inside a loop: by how often a line from it to the right crosses the loop. */
export function isInside(loop: readonly Point[], x: number, y: number): boolean {
  let inside = false;
  for (let i = 0, j = loop.length - 1; i < loop.length; j = i++) {
    const [a, b] = [loop[i]!, loop[j]!];
    if (a.y > y !== b.y > y && x < ((b.x - a.x) * (y - a.y)) / (b.y - a.y) + a.x) inside = !inside;
  }
  return inside;
}

/** Where the map is seen from: `scale` pixels for its unit, and the pixel of its corner. */
export interface View {
  readonly scale: number;
  readonly left: number;
  readonly top: number;
}

/** The view that shows the whole map in a box, with a margin. */
export function fitted(width: number, height: number, margin = 64): View {
  const scale = Math.max(50, Math.min(width, height) - 2 * margin);
  return { scale, left: (width - scale) / 2, top: (height - scale) / 2 };
}

/** Zooms by `factor` so that what is under (x, y), in pixels, stays there. */
export function zoomed(view: View, factor: number, x: number, y: number, least: number): View {
  const scale = Math.min(least * 200, Math.max(least * 0.8, view.scale * factor));
  const by = scale / view.scale;
  return { scale, left: x - (x - view.left) * by, top: y - (y - view.top) * by };
}

/** Where a name stands on the screen, in pixels of the page. */
export interface Taken {
  readonly left: number;
  readonly right: number;
  readonly y: number;
}

const LINE = 26;
const LINES = [0, 1, -1, 2, -2];

/** The height for a name that lies over no other, one or two lines off if it must; undefined where there is none. */
export function freeLine(left: number, right: number, y: number, taken: readonly Taken[]): number | undefined {
  const isFree = (at: number): boolean => !taken.some((other) => Math.abs(other.y - at) < LINE && left - 4 < other.right && right + 4 > other.left);
  return LINES.map((line) => y + line * LINE).find(isFree);
}
