import { expect, test } from "vitest";
import { byId, idOf, labels, parsed } from "../src/map/data";

// A map of three tracks, laid out by hand as docs/api.md says.
function made(): ArrayBuffer {
  const columns = {
    id: { type: "u64", at: 0 },
    x: { type: "f32", at: 24 },
    y: { type: "f32", at: 40 },
    genre: { type: "u16", at: 56 },
    cluster: { type: "u16", at: 64 },
    artist: { type: "u32", at: 72 },
    tempo: { type: "f32", at: 88 },
    energy: { type: "f32", at: 104 },
    year: { type: "u16", at: 120 },
    verdict: { type: "u8", at: 128 },
    played: { type: "u8", at: 136 },
  };
  let head = JSON.stringify({ method: "tsne", count: 3, columns, genres: ["Samba"], clusters: ["ünlike"], artists: [] });
  let bytes = new TextEncoder().encode(head);
  while ((4 + bytes.length) % 8) bytes = new TextEncoder().encode((head += " "));
  const buffer = new ArrayBuffer(4 + bytes.length + 144);
  const view = new DataView(buffer);
  view.setUint32(0, bytes.length, true);
  new Uint8Array(buffer, 4).set(bytes);
  const at = 4 + bytes.length;
  [0xfedcba9876543210n, 0xfn, 2n].forEach((id, i) => view.setBigUint64(at + 8 * i, id, true));
  [-1, 0, 1].forEach((x, i) => view.setFloat32(at + 24 + 4 * i, x, true));
  [1, 0, -1].forEach((y, i) => view.setFloat32(at + 40 + 4 * i, y, true));
  [0, 65535, 0].forEach((genre, i) => view.setUint16(at + 56 + 2 * i, genre, true));
  [0, 0, 0].forEach((cluster, i) => view.setUint16(at + 64 + 2 * i, cluster, true));
  return buffer;
}

test("columns come out as they went in, y turned down", () => {
  const data = parsed(made());
  expect([...data.places]).toEqual([0, 0, 0.5, 0.5, 1, 1]);
  expect([...data.genre]).toEqual([0, 65535, 0]);
  expect(data.clusters).toEqual(["ünlike"]);
});

test("ids keep their 64 bits and their leading zeros", () => {
  const data = parsed(made());
  expect([0, 1].map((i) => idOf(data, i))).toEqual(["fedcba9876543210", "000000000000000f"]);
  const find = byId(data);
  expect(find("fedcba9876543210")).toBe(0);
  expect(find("0000000000000003")).toBeUndefined();
});

test("a name stands over the middle of its group", () => {
  expect(labels(parsed(made()))).toEqual([{ text: "ünlike", tracks: 3, x: 0.5, y: 0 }]);
});
