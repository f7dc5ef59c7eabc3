/** Whether the server can be reached; who waits for it hears when it is back. */

import { untrack } from "svelte";

const EVERY = 2000; // milliseconds
const ANEW_AFTER = 10_000; // milliseconds

export const UNREACHABLE = "The server does not answer. Is `soundkin serve` still running?";

let lost = $state(false);
let returned = $state(0);

export const isLost = (): boolean => lost;

/** Asks whether the server answers at all. */
export async function answers(): Promise<boolean> {
  try {
    return (await fetch(new URL("healthz", document.baseURI), { cache: "no-store" })).ok;
  } catch {
    return false;
  }
}

/** Whether to start the app anew by itself: not when that was done a moment ago and did not help. */
export function mayStartAnew(): boolean {
  const before = Number(sessionStorage.getItem("soundkin.anew") ?? -Infinity);
  if (Date.now() - before < ANEW_AFTER) return false;
  sessionStorage.setItem("soundkin.anew", String(Date.now()));
  return true;
}

/** A request got no answer: from now on the server is asked whether it is there, until it is. */
export function missed(): void {
  if (lost) return;
  lost = true;
  setTimeout(look, EVERY);
}

async function look(): Promise<void> {
  if (!(await answers())) {
    setTimeout(look, EVERY);
    return;
  }
  lost = false;
  returned++;
}

/** Calls `run` whenever the server is back; for use where a component begins. */
export function whenBack(run: () => void): void {
  const before = untrack(() => returned);
  $effect(() => {
    if (returned > before) untrack(run);
  });
}
