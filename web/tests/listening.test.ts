import { expect, test } from "vitest";
import { said } from "../src/lib/listening";

test.each([
  [100, 200, true, "play"], // half is enough, however it ends
  [99, 200, true, "skip"],
  [99, 200, false, undefined], // something else was wanted, this was not turned down
  [240, 3600, false, "play"],
  [239, 3600, true, "skip"],
  [0, 0, false, undefined],
])("%f s of %f s, passed: %s", (heard, duration, passed, kind) => expect(said(heard, duration, passed)).toBe(kind));
