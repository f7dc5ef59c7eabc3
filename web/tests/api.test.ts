import { afterEach, beforeEach, expect, test, vi } from "vitest";

type Answer = () => Response | Promise<Response>;

const page = (status: number): Response => new Response("<h1>Time-out</h1>", { status, headers: { "Content-Type": "text/html" } });
const json = (body: unknown, status = 200): Response => new Response(JSON.stringify(body), { status });
const asked: number[] = []; // when


/** The API as the app has it, of a server that answers so. */
async function apiOf(answer: Answer, alive: Answer = () => json({})): Promise<typeof import("../src/lib/api")> {
  vi.stubGlobal("document", { baseURI: "http://soundkin.test/" });
  vi.stubGlobal("fetch", (url: URL | string) => {
    const path = new URL(url).pathname;
    if (path !== "/healthz") asked.push(Date.now());
    return Promise.resolve().then(path === "/healthz" ? alive : answer);
  });
  return import("../src/lib/api");
}

beforeEach(() => {
  vi.useFakeTimers();
  vi.resetModules();
  asked.length = 0;
});
afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

test.each([502, 503, 504])("what a proxy gives up on with %i is asked a few times, and each pause is longer", async (status) => {
  const api = await apiOf(() => page(status));
  const failed = api.get("map").catch((error: unknown) => error);
  await vi.advanceTimersByTimeAsync(3_600_000);
  const pauses = asked.slice(1).map((time, i) => time - asked[i]!);
  expect(pauses.length).toBe(3);
  expect(pauses).toEqual([...new Set(pauses)].sort((a, b) => a - b));
  expect(await failed).toMatchObject({ status, kind: "given_up", message: expect.stringContaining(`(${status})`) as string });
});

test("an answer that is there when it is asked for again is the answer", async () => {
  const answers = [page(504), json({ tracks: 3 })];
  const api = await apiOf(() => answers.shift()!);
  const got = api.get("status");
  await vi.advanceTimersByTimeAsync(60_000);
  expect(await got).toEqual({ tracks: 3 });
});

test("what is no question is not said twice", async () => {
  const api = await apiOf(() => page(504));
  await expect(api.send("POST", "feedback", {})).rejects.toMatchObject({ kind: "given_up" });
  await vi.advanceTimersByTimeAsync(60_000);
  expect(asked).toHaveLength(1);
});

test("a server that is away behind its proxy is waited for", async () => {
  const api = await apiOf(() => page(502), () => page(502));
  await expect(api.get("status")).rejects.toMatchObject({ kind: "unreachable" });
});

test("what the server itself says of being busy is what it says", async () => {
  const api = await apiOf(() => json({ error: { kind: "busy", message: "later" } }, 503));
  await expect(api.get("status")).rejects.toMatchObject({ kind: "busy", message: "later" });
});
