/** An answer of the server as a value that follows its question. */

export interface Resource<T> {
  /** The latest answer; the one before stays until then, so that a page does not jump. */
  readonly value: T | undefined;
  readonly problem: string;
  readonly busy: boolean;
  /** Asks again. */
  again(): void;
}

/**
 * Asks now, and again whenever something that `ask` reads changes.
 *
 * @param ask reads the question at once and returns the promise of its answer; null when there is no question
 */
export function resource<T>(ask: (signal: AbortSignal) => Promise<T> | null): Resource<T> {
  let value = $state.raw<T | undefined>();
  let problem = $state("");
  let busy = $state(true);
  let times = $state(0);
  $effect(() => {
    void times;
    const broken = new AbortController();
    const promise = ask(broken.signal);
    busy = promise !== null;
    problem = "";
    if (!promise) value = undefined;
    promise?.then(
      (got) => {
        if (!broken.signal.aborted) [value, busy] = [got, false];
      },
      (error: unknown) => {
        if (broken.signal.aborted) return;
        [value, busy, problem] = [undefined, false, error instanceof Error ? error.message : String(error)];
      },
    );
    return () => broken.abort();
  });
  return {
    get value() {
      return value;
    },
    get problem() {
      return problem;
    },
    get busy() {
      return busy;
    },
    again: () => times++,
  };
}
