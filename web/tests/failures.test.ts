import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { inWords } from "../src/lib/failures";

test("every kind of failure that the record knows has words", () => {
  const told = readFileSync(new URL("../../src/soundkin/embed/values.py", import.meta.url), "utf8");
  const [, about = ""] = /class Failure:.*?kind : str\n(.*?)reason : str/s.exec(told) ?? [];
  const kinds = [...about.matchAll(/"(\w+)"/g)].map(([, kind]) => kind!);
  expect(kinds).toHaveLength(7);
  for (const kind of kinds.filter((each) => each !== "silent")) expect(inWords(kind)).not.toBe(kind);
});

test("a kind of a later version is shown as it is called", () => expect(inWords("haunted")).toBe("haunted"));
