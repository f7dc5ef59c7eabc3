/** An answer of the server as a value that follows its question. */

import { ApiError } from "./api";
import { whenBack } from "./reach.svelte";

export interface Resource<T> {
  /** The latest answer; the one before stays until then, so that a page does not jump. */
  readonly value: T | undefined;
  readonly problem: string;
  /** Whether what is asked for does not exist, so that asking again is no use. */
  readonly missing: boolean;
  readonly busy: boolean;
  /** Asks again. */
  again(): void;
}

/**
 * Asks now, and again whenever something that `ask` reads changes, or the server is back that did not answer.
 *
 * @param ask reads the question at once and returns the promise of its answer; null when there is no question
 */
export function resource<T>(ask: (signal: AbortSignal) => Promise<T> | null): Resource<T> {
  let value = $state.raw<T | undefined>();
  let failure = $state.raw<unknown>();
  let busy = $state(true);
  let times = $state(0);
  $effect(() => {
    void times;
    const broken = new AbortController();
    const promise = ask(broken.signal);
    busy = promise !== null;
    failure = undefined;
    if (!promise) value = undefined;
    promise?.then(
      (got) => {
        if (!broken.signal.aborted) [value, busy] = [got, false];
      },
      (error: unknown) => {
        if (broken.signal.aborted) return;
        [value, busy, failure] = [undefined, false, error];
      },
    );
    return () => broken.abort();
  });
  whenBack(() => {
    if (failure instanceof ApiError && failure.kind === "unreachable") times++;
  });
  return {
    get value() {
      return value;
    },
    get problem() {
      return failure === undefined ? "" : said(failure);
    },
    get missing() {
      return failure instanceof ApiError && failure.kind === "not_found";
    },
    get busy() {
      return busy;
    },
    again: () => times++,
  };
}

/** What an error says. */
export function said(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
