/** What can be done with a track from anywhere. */

import { judge, profile, report, verdictOf } from "./session.svelte";
import { keep, type Item } from "./overlays.svelte";
import * as player from "./player.svelte";
import { to } from "./router.svelte";
import { complain, say } from "./toasts.svelte";
import type { Listed } from "./types";

export async function like(track: Listed): Promise<void> {
  const now = await judge(track, "like");
  if (now === "like") say(`You like “${track.name}”`);
}

export async function dislike(track: Listed): Promise<void> {
  const now = await judge(track, "dislike");
  if (now === "dislike") say(`You will hear less like “${track.name}”`, { name: "Undo", run: () => void judge(track, "dislike") });
}

export function queue(track: Listed): void {
  player.addLast([track]);
  say(`“${track.name}” is in the queue`);
}

export function skip(track: Listed): void {
  report("skip", track.id).then(() => say(`“${track.name}” can wait`), complain);
}

/** The entries of a track's menu; those of its row are in it too, for narrow screens. */
export function menuOf(track: Listed, more: readonly Item[] = []): Item[] {
  const liked = verdictOf(track);
  return [
    { name: "Play next", icon: "next", run: () => player.addNext([track]) },
    { name: "Add to queue", icon: "queue", run: () => queue(track) },
    { name: "More like this", icon: "alike", href: to(`like/${track.id}`) },
    { name: "Start radio", icon: "radio", run: () => void player.startRadio([track], track.name) },
    { name: liked === "like" ? "Liked: take back" : "Like", icon: "like", run: () => void like(track) },
    { name: liked === "dislike" ? "Disliked: take back" : "Dislike", icon: "dislike", run: () => void dislike(track) },
    { name: "Not now (skip)", icon: "later", run: () => skip(track) },
    { name: "Add to a playlist…", icon: "plus", run: () => keep([track]) },
    { name: "Path from here…", icon: "path", href: to("path", { from: track.id }) },
    { name: "Find on the map", icon: "map", href: to("map", { find: track.id }) },
    ...more,
  ];
}

/** Sends what a profile said; for links that carry it. */
export const asProfile = (): { profile: string } => ({ profile: profile() });
