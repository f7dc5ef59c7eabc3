import { expect, test } from "vitest";
import { bytes, clock, count, counted, elapsed, percent, shortPath, span } from "../src/lib/format";

test.each([
  [0, "0:00"],
  [59.9, "1:00"],
  [51.6, "0:52"],
  [83.4, "1:23"],
  [52.5, "0:52"], // Python's round, which the command uses, takes the even one
  [53.5, "0:54"],
  [600, "10:00"],
  [3725, "1:02:05"],
  [-1, "0:00"],
  [NaN, "0:00"],
])("a clock shows %f s as %s", (seconds, text) => expect(clock(seconds)).toBe(text));

test("what has played is whole seconds that are over", () => {
  expect([59.9, 83.6, 3725.5, NaN].map(elapsed)).toEqual(["0:59", "1:23", "1:02:05", "0:00"]);
});

test.each([
  [20, "under a minute"],
  [90 * 60, "1 h 30 min"],
  [3600, "1 h"],
  [59 * 60, "59 min"],
  [360_000 * 20, "2\u202f000 h"],
])("%i s span %s", (seconds, text) => expect(span(seconds)).toBe(text));

test("thousands are set apart, and nouns follow their number", () => {
  expect(count(1234567)).toBe("1\u202f234\u202f567");
  expect(count(999)).toBe("999");
  expect(counted(1, "track")).toBe("1 track");
  expect(counted(0, "track")).toBe("0 tracks");
  expect(counted(2, "copy", "copies")).toBe("2 copies");
});

test("similarities stay within 0 and 100", () => {
  expect([-0.2, 0, 0.456, 1, 1.3].map(percent)).toEqual(["0", "0", "46", "100", "100"]);
});

test("sizes", () => expect([999, 1500, 250_000_000, 3e9].map(bytes)).toEqual(["999 B", "1.5 kB", "250 MB", "3.0 GB"]));

test("a long path keeps its end", () => {
  expect(shortPath("/music/a/b/c.mp3")).toBe("…/a/b/c.mp3");
  expect(shortPath("a/b.mp3")).toBe("a/b.mp3");
});
