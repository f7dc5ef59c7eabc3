import { expect, test } from "vitest";
import { coloured, ramp } from "../src/map/colours";
import { fitted, freeLine, Grid, isInside, zoomed } from "../src/map/geometry";

// A fixed sequence of numbers, so that a failure comes back.
function numbers(n: number): Float32Array {
  let state = 1;
  return Float32Array.from({ length: n }, () => (state = (state * 48271) % 2147483647) / 2147483647);
}

test("the nearest point is the one that looking at all of them finds", () => {
  const places = numbers(4000);
  const grid = new Grid(places);
  const asked = numbers(202).slice(2);
  for (let q = 0; q < asked.length; q += 2) {
    const [x, y] = [asked[q]!, asked[q + 1]!];
    let best = -1;
    let least = 0.05 ** 2;
    for (let i = 0; i < places.length / 2; i++) {
      const far = (places[2 * i]! - x) ** 2 + (places[2 * i + 1]! - y) ** 2;
      if (far < least) [best, least] = [i, far];
    }
    expect(grid.nearest(x, y, 0.05)).toBe(best);
  }
});

test("points that are not shown are not found", () => {
  const grid = new Grid(new Float32Array([0.5, 0.5, 0.52, 0.5]));
  expect(grid.nearest(0.5, 0.5, 0.1, (i) => i !== 0)).toBe(1);
  expect(grid.nearest(0.1, 0.1, 0.1)).toBe(-1);
});

test("a loop holds what is inside it, dents and all", () => {
  const dented = [{ x: 0, y: 0 }, { x: 1, y: 0 }, { x: 1, y: 1 }, { x: 0.5, y: 0.2 }, { x: 0, y: 1 }];
  expect(isInside(dented, 0.1, 0.5)).toBe(true);
  expect(isInside(dented, 0.5, 0.6)).toBe(false);
  const grid = new Grid(new Float32Array([0.1, 0.5, 0.5, 0.6, 0.9, 0.5]));
  expect(grid.inside(dented).sort()).toEqual([0, 2]);
  expect(grid.inside(dented.slice(0, 2))).toEqual([]);
});

test("zooming keeps what is under the pointer there", () => {
  const before = fitted(800, 600);
  const after = zoomed(before, 3, 200, 150, before.scale);
  for (const side of ["left", "top"] as const) {
    const at = side === "left" ? 200 : 150;
    expect((at - after[side]) / after.scale).toBeCloseTo((at - before[side]) / before.scale, 9);
  }
});

test("the most frequent kinds have colours of their own, the rest share one", () => {
  const labels = Array.from({ length: 20 }, (_, i) => Array<string>(20 - i).fill(`genre ${i}`)).flat();
  const { of, legend } = coloured([...labels, ""]);
  expect(new Set(legend.map((each) => each.colour)).size).toBe(13);
  expect(legend[0]).toMatchObject({ name: "genre 0", tracks: 20 });
  expect(of("genre 19")).toBe(of(""));
  expect(legend.reduce((sum, each) => sum + each.tracks, 0)).toBe(labels.length + 1);
});

test("the ramp ends where viridis does", () => {
  expect(ramp(-1)).toEqual([0x44, 0x39, 0x83]);
  expect(ramp(2)).toEqual([0xfd, 0xe7, 0x25]);
});

test("a name that would lie over another moves a line or two, and none lies over another", () => {
  const taken: { left: number; right: number; y: number }[] = [];
  for (let i = 0; i < 7; i++) {
    const y = freeLine(0, 50, 100, taken);
    if (y !== undefined) taken.push({ left: 0, right: 50, y });
  }
  expect(taken.map((one) => one.y)).toEqual([100, 126, 74, 152, 48]); // the sixth and seventh find no room
  expect(freeLine(60, 90, 100, taken)).toBe(100); // beside them there is
});
