import { expect, test } from "vitest";
import { actionOf } from "../src/lib/keys";

const press = (key: string, more = {}) => ({ key, shiftKey: false, ctrlKey: false, metaKey: false, altKey: false, ...more });

test.each([
  [" ", "toggle"],
  ["ArrowRight", "forward"],
  ["ArrowLeft", "back"],
  ["l", "like"],
  ["L", "like"], // Caps Lock
  ["d", "dislike"],
])("%s means %s", (key, action) => expect(actionOf(press(key), "page")).toBe(action));

test("with shift, arrows change the track and letters nothing", () => {
  expect(actionOf(press("ArrowRight", { shiftKey: true }), "page")).toBe("next");
  expect(actionOf(press("L", { shiftKey: true }), "page")).toBeUndefined();
  expect(actionOf(press("?", { shiftKey: true }), "page")).toBe("help");
});

test("nobody's typing is taken, nor the browser's own shortcuts", () => {
  for (const key of [" ", "l", "d", "ArrowRight", "/"]) expect(actionOf(press(key), "text")).toBeUndefined();
  for (const held of ["ctrlKey", "metaKey", "altKey"]) expect(actionOf(press("l", { [held]: true }), "page")).toBeUndefined();
});

test("a button keeps space and plain arrows, and gives away the rest", () => {
  expect(actionOf(press(" "), "control")).toBeUndefined();
  expect(actionOf(press("ArrowUp"), "control")).toBeUndefined();
  expect(actionOf(press("l"), "control")).toBe("like");
  expect(actionOf(press("ArrowRight", { shiftKey: true }), "control")).toBe("next");
});
