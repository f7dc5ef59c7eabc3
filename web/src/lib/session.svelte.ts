/** Who listens, and what they think of tracks. */

import { SvelteMap } from "svelte/reactivity";
import * as api from "./api";
import { complain } from "./toasts.svelte";
import type { Listed, Profile, Session, Verdict } from "./types";

let session = $state.raw<Session | null>(null);
let profiles = $state.raw<Profile[]>([]);
let chosen = $state("");
let changes = $state(0);
const verdicts = new SvelteMap<string, Verdict>();

export const who = (): Session | null => session;
export const known = (): readonly Profile[] => profiles;
/** The profile whose taste counts. */
export const profile = (): string => chosen || session?.profile || "default";
/** How often taste changed: an answer that depends on it is older when this was less. */
export const tasteRevision = (): number => changes;
export const mustLogIn = (): boolean => session !== null && session.login && session.user === null;

api.whenLoginIsWanted(() => {
  if (session) session = { ...session, user: null };
});

export async function begin(): Promise<void> {
  session = await api.get<Session>("session");
  if (mustLogIn()) return;
  profiles = await api.get<Profile[]>("profiles");
  const kept = localStorage.getItem("soundkin.profile") ?? "";
  chosen = profiles.some((each) => each.name === kept) ? kept : "";
}

export async function logIn(name: string, password: string): Promise<void> {
  await api.send("POST", "session", { name, password });
  await begin();
}

export async function logOut(): Promise<void> {
  await api.send("DELETE", "session");
  location.reload(); // whoever comes next finds nothing of what was here
}

export function choose(name: string): void {
  chosen = name;
  localStorage.setItem("soundkin.profile", name);
  verdicts.clear();
  changes++;
}

export async function addProfile(name: string): Promise<void> {
  await api.send("POST", "profiles", { name });
  profiles = await api.get<Profile[]>("profiles");
  choose(name);
}

/** What the listener thinks of a track: what was said here, or else what the server knew. */
export const verdictOf = (track: Pick<Listed, "id" | "verdict">): Verdict => verdicts.get(track.id) ?? track.verdict;

/** Says it, or takes it back when it was said already. */
export async function judge(track: Pick<Listed, "id" | "verdict">, verdict: "like" | "dislike"): Promise<Verdict> {
  const before = verdictOf(track);
  const after: Verdict = before === verdict ? "" : verdict;
  verdicts.set(track.id, after);
  try {
    await report(after || "unlike", track.id);
    changes++;
    return after;
  } catch (error) {
    verdicts.set(track.id, before);
    complain(error);
    return before;
  }
}

/** Tells the server what the listener did. */
export async function report(kind: "like" | "dislike" | "unlike" | "skip" | "play", id: string): Promise<void> {
  await api.send("POST", "feedback", { kind, tracks: [id], profile: profile() });
}
