import { expect, test } from "vitest";
import * as queue from "../src/lib/queue";

const names = (q: queue.Queue<string>) => q.entries.map((entry) => entry.track).join("");
const playing = (q: queue.Queue<string>) => queue.current(q)?.track;

test("what is put next comes before what was put last", () => {
  let q = queue.of(["a", "b"]);
  q = queue.append(q, ["y", "z"]);
  q = queue.insertNext(q, ["m", "n"]);
  expect(names(q)).toBe("amnbyz");
  expect(playing(q)).toBe("a");
  expect(queue.upcoming(q)?.track).toBe("m");
});

test("the ends hold", () => {
  const q = queue.of(["a", "b"], 1);
  expect(queue.step(q, 1)).toBe(q);
  expect(playing(queue.step(q, -1))).toBe("a");
  expect(queue.step(queue.EMPTY, 1)).toBe(queue.EMPTY);
  expect(queue.of([]).at).toBe(-1);
});

test("the same track twice is two entries", () => {
  const q = queue.of(["a", "a", "b"]);
  expect(names(queue.remove(q, q.entries[1]!.key))).toBe("ab");
  expect(new Set(q.entries.map((entry) => entry.key)).size).toBe(3);
});

test.each([
  [0, "c"], // before it
  [2, "d"], // itself: the next takes its place
  [3, "c"], // after it
])("taking out number %i leaves %s playing", (which, left) => {
  const q = queue.of([..."abcd"], 2);
  expect(playing(queue.remove(q, q.entries[which]!.key))).toBe(left);
});

test("the last one taken out leaves the one before, and then nothing", () => {
  let q = queue.of(["a", "b"], 1);
  q = queue.remove(q, q.entries[1]!.key);
  expect(playing(q)).toBe("a");
  q = queue.remove(q, q.entries[0]!.key);
  expect(q).toEqual({ entries: [], at: -1 });
});

test("moving anything leaves playing what plays", () => {
  for (let from = 0; from < 4; from++)
    for (let to = 0; to < 4; to++) {
      const q = queue.move(queue.of([..."abcd"], 1), from, to);
      expect(playing(q)).toBe("b");
      expect(names(q).indexOf("abcd"[from]!)).toBe(to);
      expect([...names(q)].sort().join("")).toBe("abcd");
    }
});

test("cut keeps what played", () => expect(names(queue.cut(queue.of([..."abcd"], 1)))).toBe("ab"));
