/** The player: two audio elements that take turns, so that the next track is there when one ends. */

import { audioOf, coverOf, send } from "./api";
import { said } from "./listening";
import * as queues from "./queue";
import { judge, mustLogIn, profile, report } from "./session.svelte";
import { complain, say } from "./toasts.svelte";
import type { Answer, Listed } from "./types";

const PRELOAD_AFTER = 3; // seconds: what is skipped at once need not load the next
const RADIO_AHEAD = 3; // tracks
const REMEMBERED = "soundkin.playing";

interface Radio {
  readonly queries: readonly string[];
  readonly name: string;
  readonly heard: string[];
  readonly skipped: string[];
  readonly liked: string[];
  readonly disliked: string[];
}

interface Remembered {
  readonly tracks: readonly Listed[];
  readonly at: number;
  readonly time: number;
  readonly heard: number;
  readonly sounds: boolean;
  readonly radio: Radio | null;
}

let queue = $state.raw<queues.Queue<Listed>>(queues.EMPTY);
let playing = $state(false);
let waiting = $state(false);
let time = $state(0);
let length = $state(0);
let volume = $state(Number(localStorage.getItem("soundkin.volume") ?? 1));
let muted = $state(false);
let radio = $state.raw<Radio | null>(null);
let radioAsked = false;

let heard = 0; // seconds of the track that sounded
let lastTime = 0;
let elements: HTMLAudioElement[] = [];
let active = 0;

export const state = {
  get queue() {
    return queue;
  },
  get track() {
    return queues.current(queue)?.track;
  },
  get playing() {
    return playing;
  },
  /** Whether sound is wanted and not there yet. */
  get waiting() {
    return waiting;
  },
  get time() {
    return time;
  },
  get length() {
    return length || queues.current(queue)?.track.duration || 0;
  },
  get volume() {
    return volume;
  },
  get muted() {
    return muted;
  },
  get radio() {
    return radio;
  },
};

const element = (): HTMLAudioElement | undefined => elements[active];

/** Gives the player its two audio elements. */
export function attach(first: HTMLAudioElement, second: HTMLAudioElement): void {
  elements = [first, second];
  for (const each of elements) {
    each.preload = "auto";
    each.volume = volume;
    const mine = (call: () => void) => () => each === element() && call();
    each.addEventListener("timeupdate", mine(tick));
    each.addEventListener("durationchange", mine(() => (length = Number.isFinite(each.duration) ? each.duration : 0)));
    each.addEventListener("play", mine(() => (playing = true)));
    each.addEventListener("pause", mine(() => (playing = false)));
    each.addEventListener("waiting", mine(() => (waiting = true)));
    each.addEventListener("playing", mine(() => (waiting = false)));
    each.addEventListener("canplay", mine(() => (waiting = false)));
    each.addEventListener("ended", mine(ended));
    each.addEventListener("error", mine(failed));
  }
  attachKeys();
}

function tick(): void {
  const audio = element()!;
  const passed = audio.currentTime - lastTime;
  if (passed > 0 && passed < 2) heard += passed; // a jump is not listening
  lastTime = time = audio.currentTime;
  if (heard > PRELOAD_AFTER) preload();
  if ("setPositionState" in navigator.mediaSession && length > 0 && time <= length)
    navigator.mediaSession.setPositionState({ duration: length, position: time });
}

function preload(): void {
  const next = queues.upcoming(queue)?.track;
  const idle = elements[1 - active]!;
  if (next && idle.src !== audioOf(next)) idle.src = audioOf(next);
}

function ended(): void {
  const audio = element()!;
  heard += Math.max(0, Math.min(2, audio.duration - lastTime));
  if (!advance(1, false)) {
    leave(false);
    playing = false;
  }
}

function failed(): void {
  const track = state.track;
  if (!track || !element()!.currentSrc) return;
  waiting = playing = false;
  complain(new Error(`“${track.name}” could not be played: its file is gone, or this browser cannot decode it.`));
  if (queues.upcoming(queue)) advance(1, false);
}

/** Reports what the track that is left was worth. */
function leave(passed: boolean): void {
  const track = state.track;
  if (!track || !heard) return;
  const kind = said(heard, state.length, passed);
  heard = 0;
  if (radio) (kind === "skip" ? radio.skipped : radio.heard).push(track.id);
  if (kind) report(kind, track.id).catch(complain);
}

function begin(at = 0, sounds = true): void {
  const track = state.track;
  if (!track || !elements.length) return;
  const idle = elements[1 - active]!;
  const before = element()!;
  if (idle.src === audioOf(track) && !at) {
    active = 1 - active;
    before.pause();
  } else {
    before.src = audioOf(track);
  }
  const audio = element()!;
  audio.volume = volume;
  audio.muted = muted;
  if (audio.currentTime !== at) audio.currentTime = at;
  heard = 0;
  time = lastTime = at;
  length = track.duration;
  announce(track);
  playing = sounds;
  if (!sounds) return;
  waiting = audio.readyState < 3;
  audio.play().catch((error: unknown) => {
    if (error instanceof DOMException && error.name === "NotAllowedError") playing = false;
  });
  void fillRadio();
}

function advance(by: number, passed: boolean): boolean {
  const next = queues.step(queue, by);
  if (next === queue) return false;
  leave(passed);
  queue = next;
  begin();
  return true;
}

/** Keeps what plays for `resume`, when the app is about to start anew in this tab. */
export function remember(): void {
  if (!state.track) return;
  const tracks = queue.entries.map((entry) => entry.track);
  const kept: Remembered = { tracks, at: queue.at, time: exactTime(), heard, sounds: playing, radio };
  try {
    sessionStorage.setItem(REMEMBERED, JSON.stringify(kept));
  } catch {
    // a queue of thousands is more than a browser keeps: then the music stops
  }
}

/** Goes on with what `remember` kept, once; where a browser wants a click before it makes a sound, it waits for that. */
export function resume(): void {
  const text = sessionStorage.getItem(REMEMBERED);
  sessionStorage.removeItem(REMEMBERED);
  if (!text || !elements.length || mustLogIn()) return;
  const kept = JSON.parse(text) as Remembered;
  queue = queues.of(kept.tracks, kept.at);
  radio = kept.radio;
  begin(kept.time, kept.sounds);
  heard = kept.heard;
}

/** Plays tracks from the one at `start`; `at` seconds into it. */
export function play(tracks: readonly Listed[], start = 0, at = 0): void {
  leave(false);
  radio = null;
  queue = queues.of(tracks, start);
  begin(at);
}

/** Plays one of the queue. */
export function playEntry(key: number): void {
  const at = queue.entries.findIndex((entry) => entry.key === key);
  if (at >= 0) advance(at - queue.at, false);
}

export function toggle(): void {
  const audio = element();
  if (!audio || !state.track) return;
  if (!audio.paused) audio.pause();
  else if (audio.ended || !audio.currentSrc) begin();
  else void audio.play();
}

export function next(): void {
  if (!advance(1, true)) {
    leave(true);
    element()?.pause();
  }
}

/** The track before; or the start of this one, when more than three seconds of it are over. */
export function previous(): void {
  if (time > 3 || !advance(-1, false)) seek(0);
}

export function seek(to: number): void {
  const audio = element();
  if (!audio || !state.track) return;
  audio.currentTime = Math.min(Math.max(0, to), Math.max(0, state.length - 0.05));
  time = lastTime = audio.currentTime;
}

export function setVolume(to: number): void {
  volume = Math.min(1, Math.max(0, to));
  muted = false;
  for (const each of elements) [each.volume, each.muted] = [volume, false];
  localStorage.setItem("soundkin.volume", String(volume));
}

export function mute(): void {
  muted = !muted;
  for (const each of elements) each.muted = muted;
}

export function addNext(tracks: readonly Listed[]): void {
  if (!state.track) return play(tracks);
  queue = queues.insertNext(queue, tracks);
}

export function addLast(tracks: readonly Listed[]): void {
  if (!state.track) return play(tracks);
  queue = queues.append(queue, tracks);
}

export function removeEntry(key: number): void {
  const mine = queues.current(queue)?.key === key;
  if (mine) leave(false);
  queue = queues.remove(queue, key);
  if (!mine) return;
  if (state.track) begin();
  else stop();
}

export function moveEntry(from: number, to: number): void {
  queue = queues.move(queue, from, to);
}

export function clearComing(): void {
  queue = queues.cut(queue);
  radio = null;
}

function stop(): void {
  element()?.pause();
  element()?.removeAttribute("src");
  queue = queues.EMPTY;
}

/** Likes or dislikes what plays; what is disliked is over. */
export async function judgePlaying(verdict: "like" | "dislike"): Promise<void> {
  const track = state.track;
  if (!track) return;
  const now = await judge(track, verdict);
  if (now === "like") radio?.liked.push(track.id);
  if (now === "dislike") {
    radio?.disliked.push(track.id);
    if (state.track?.id === track.id) next();
  }
  say(now === "like" ? `You like “${track.name}”` : now === "dislike" ? `You will hear less like “${track.name}”` : "Taken back");
}

/** Plays on and on from here: a track, or what the profile likes. */
export async function startRadio(from: readonly Listed[], name: string): Promise<void> {
  const begun: Radio = { queries: from.map((each) => each.id), name, heard: [], skipped: [], liked: [], disliked: [] };
  try {
    const tracks = [...from, ...(await radioTracks(begun, []))];
    play(tracks);
    radio = begun;
  } catch (error) {
    complain(error);
  }
}

async function fillRadio(): Promise<void> {
  if (!radio || radioAsked || queue.entries.length - queue.at > RADIO_AHEAD) return;
  const mine = radio;
  radioAsked = true;
  try {
    const tracks = await radioTracks(mine, queue.entries.map((entry) => entry.track.id));
    if (radio === mine) queue = queues.append(queue, tracks);
  } catch (error) {
    complain(error);
  } finally {
    radioAsked = false;
  }
}

async function radioTracks(of: Radio, queued: readonly string[]): Promise<Listed[]> {
  const heardOrQueued = [...new Set([...of.heard, ...queued])].slice(-1000);
  const { queries, liked, disliked, skipped } = of;
  const body = { queries, n: 5, heard: heardOrQueued, liked, disliked, skipped, profile: profile() };
  return (await send<Answer>("POST", "radio", body)).hits;
}

function announce(track: Listed): void {
  document.title = `${track.name}${track.artist ? ` – ${track.artist}` : ""}`;
  navigator.mediaSession.metadata = new MediaMetadata({
    title: track.name,
    artist: track.artist,
    album: track.album,
    artwork: [{ src: coverOf(track, 320), sizes: "320x320", type: "image/jpeg" }],
  });
}

function attachKeys(): void {
  const handlers: [MediaSessionAction, (details: MediaSessionActionDetails) => void][] = [
    ["play", () => playing || toggle()],
    ["pause", () => playing && toggle()],
    ["nexttrack", next],
    ["previoustrack", previous],
    ["seekto", (details) => seek(details.seekTime ?? 0)],
    ["seekforward", (details) => seek(time + (details.seekOffset ?? 10))],
    ["seekbackward", (details) => seek(time - (details.seekOffset ?? 10))],
  ];
  for (const [action, call] of handlers) navigator.mediaSession.setActionHandler(action, call);
}

/** What a track in a list is to the player. */
export const isPlaying = (track: Pick<Listed, "id">): boolean => state.track?.id === track.id;

/** The time that the listener hears; for the canvas that draws it smoothly. */
export const exactTime = (): number => element()?.currentTime ?? 0;

