import { readFileSync } from "node:fs";
import { expect, test } from "vitest";

// Contrast as WCAG 2.2 defines it, of the colours that app.css names.
const css = readFileSync(new URL("../src/app.css", import.meta.url), "utf8");
const tokens = new Map([...css.matchAll(/--([\w-]+): light-dark\((#\w{6}), (#\w{6})\)/g)].map(([, name, light, dark]) => [name!, [light!, dark!] as const]));

function luminance(hex: string): number {
  const [r, g, b] = [1, 3, 5].map((at) => {
    const part = parseInt(hex.slice(at, at + 2), 16) / 255;
    return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r! + 0.7152 * g! + 0.0722 * b!;
}

function contrast(a: string, b: string): number {
  const [high, low] = [luminance(a), luminance(b)].sort((x, y) => y - x);
  return (high! + 0.05) / (low! + 0.05);
}

test("black on white is 21", () => expect(contrast("#000000", "#ffffff")).toBeCloseTo(21, 6));

for (const [scheme, which] of [["light", 0], ["dark", 1]] as const) {
  const colour = (name: string) => tokens.get(name)![which];
  test.each(["ink", "soft", "faint", "accent", "bad"].flatMap((text) => ["paper", "raised", "hover"].map((under) => [text, under] as const)))(
    `in the ${scheme}, %s can be read on %s`,
    (text, under) => expect(contrast(colour(text), colour(under))).toBeGreaterThanOrEqual(4.5),
  );
  test(`in the ${scheme}, buttons and their borders can be seen`, () => {
    expect(contrast(colour("on-accent"), colour("accent"))).toBeGreaterThanOrEqual(4.5);
    expect(contrast(colour("accent"), colour("accent-soft"))).toBeGreaterThanOrEqual(4.5);
    for (const under of ["paper", "raised"]) expect(contrast(colour("edge"), colour(under))).toBeGreaterThanOrEqual(3);
  });
}
