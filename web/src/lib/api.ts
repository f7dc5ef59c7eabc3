/** The HTTP API, as functions. */

import { answers, missed, UNREACHABLE } from "./reach.svelte";
import type { Listed, Track } from "./types";

/** The API lies beside the page, whatever path a proxy gives both. */
const ROOT = new URL("api/v1/", document.baseURI);

type Value = string | number | boolean | null | undefined;
export type Params = Record<string, Value | readonly string[]>;

/** What the server said instead of an answer. */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    readonly kind: string,
    message: string,
    readonly choices: Track[] = [],
    readonly retryAfter = 0,
  ) {
    super(message);
  }
}

let onLogin: () => void = () => undefined;

/** Says whom to call when the server wants a login. */
export function whenLoginIsWanted(call: () => void): void {
  onLogin = call;
}

/** The address of something, e.g. `address("tracks/0f/audio")`. */
export function address(path: string, params: Params = {}): string {
  const url = new URL(path, ROOT);
  for (const [name, value] of Object.entries(params)) {
    const values = Array.isArray(value) ? (value as readonly string[]) : [value as Value];
    for (const each of values) if (each !== undefined && each !== null && each !== "") url.searchParams.append(name, String(each));
  }
  return url.href;
}

/** What a proxy answers when the server behind it does not. */
const BEHIND: readonly number[] = [502, 503, 504];
/** Pauses in seconds before a question is put again that a proxy gave up on, though the server is there. */
const PAUSES: readonly number[] = [1, 3, 9];

function unreachable(): ApiError {
  missed();
  return new ApiError(0, "unreachable", UNREACHABLE);
}

/** What it means that a proxy gave up: the server is away, or it takes longer over this than the proxy waits. */
async function givenUp(status: number): Promise<ApiError> {
  if (!(await answers())) return unreachable();
  return new ApiError(status, "given_up", `The server is there, but what stands before it gave up waiting for it (${status}).`);
}

async function ask(method: string, path: string, init: RequestInit, params: Params = {}): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(address(path, params), { method, ...init });
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw unreachable();
  }
  if (response.ok) return response;
  const wait = Number(response.headers.get("Retry-After") ?? 0);
  const body = (await response.json().catch(() => null)) as { error?: Partial<ApiError> } | null;
  if (!body?.error && BEHIND.includes(response.status)) throw await givenUp(response.status);
  const { kind = "internal", message = `The server answered ${response.status}.`, choices } = body?.error ?? {};
  if (response.status === 401 && path !== "session") onLogin();
  throw new ApiError(response.status, kind, message, choices ?? [], wait);
}

/** GET; polls for as long as the server says that the answer is still being made. */
export async function get<T>(path: string, params: Params = {}, signal?: AbortSignal): Promise<T> {
  return (await made(path, params, signal)).json() as Promise<T>;
}

/** GET of bytes, with the same patience. */
export async function getBytes(path: string, params: Params = {}, signal?: AbortSignal): Promise<ArrayBuffer> {
  return (await made(path, params, signal)).arrayBuffer();
}

async function made(path: string, params: Params, signal?: AbortSignal): Promise<Response> {
  for (;;) {
    const response = await patient(path, params, signal);
    if (response.status !== 202) return response;
    const { retry = 2 } = (await response.json()) as { retry?: number };
    await pause(retry, signal);
  }
}

/** GET; asks a few times more where a proxy gives up, for the server may have the answer by then. */
async function patient(path: string, params: Params, signal?: AbortSignal): Promise<Response> {
  for (let times = 0; ; times++) {
    try {
      return await ask("GET", path, { signal: signal ?? null }, params);
    } catch (error) {
      const seconds = PAUSES[times];
      if (!(error instanceof ApiError) || error.kind !== "given_up" || seconds === undefined) throw error;
      await pause(seconds, signal);
    }
  }
}

async function pause(seconds: number, signal?: AbortSignal): Promise<void> {
  await new Promise((done) => setTimeout(done, seconds * 1000));
  signal?.throwIfAborted();
}

/** POST, PUT or DELETE of JSON. */
export async function send<T>(method: "POST" | "PUT" | "DELETE", path: string, body?: unknown, signal?: AbortSignal): Promise<T> {
  const init: RequestInit = { signal: signal ?? null };
  if (body !== undefined) {
    init.body = JSON.stringify(body);
    init.headers = { "Content-Type": "application/json" };
  }
  const response = await ask(method, path, init);
  return (response.status === 204 ? undefined : await response.json()) as T;
}

/** POST of a form, with a file in it. */
export async function upload<T>(path: string, form: FormData, signal?: AbortSignal): Promise<T> {
  return (await ask("POST", path, { body: form, signal: signal ?? null })).json() as Promise<T>;
}

/** POST that answers with a file, which the browser then saves. */
export async function download(method: "GET" | "POST", path: string, body?: unknown, params: Params = {}): Promise<void> {
  const init: RequestInit = body === undefined ? {} : { body: JSON.stringify(body), headers: { "Content-Type": "application/json" } };
  const response = await ask(method, path, init, params);
  const said = response.headers.get("Content-Disposition") ?? "";
  const coded = /filename\*=UTF-8''([^;]+)/i.exec(said)?.[1];
  const link = document.createElement("a");
  link.href = URL.createObjectURL(await response.blob());
  link.download = coded ? decodeURIComponent(coded) : (/filename="([^"]+)"/.exec(said)?.[1] ?? "playlist");
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

export const audioOf = (track: Pick<Listed, "id">): string => address(`tracks/${track.id}/audio`);
export const coverOf = (track: Pick<Listed, "id">, size: 96 | 320 | 960): string => address(`tracks/${track.id}/cover`, { size });
