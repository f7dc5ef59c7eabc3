/** What lies over the page: one menu, one dialog of playlists, one list of shortcuts. */

import type { IconName } from "../parts/Icon.svelte";
import type { Listed } from "./types";

export interface Item {
  readonly name: string;
  readonly icon: IconName;
  readonly run?: () => void;
  readonly href?: string;
}

let menu = $state.raw<{ anchor: HTMLElement; items: readonly Item[] } | null>(null);
let keeping = $state.raw<{ tracks: readonly Pick<Listed, "id">[]; name: string } | null>(null);
let queueShown = $state(false);
let help = $state(false);

export const overlays = {
  get menu() {
    return menu;
  },
  get keeping() {
    return keeping;
  },
  get queue() {
    return queueShown;
  },
  set queue(shown: boolean) {
    queueShown = shown;
  },
  get help() {
    return help;
  },
  set help(shown: boolean) {
    help = shown;
  },
};

export function openMenu(anchor: HTMLElement, items: readonly Item[]): void {
  menu = { anchor, items };
}

export function closeMenu(): void {
  menu = null;
}

/** Asks which playlist tracks should go into. */
export function keep(tracks: readonly Pick<Listed, "id">[], name = ""): void {
  keeping = { tracks, name };
}

export function stopKeeping(): void {
  keeping = null;
}

/** Puts a floating element beside its anchor, where there is room. */
export function place(floating: HTMLElement, anchor: HTMLElement): void {
  const [box, size] = [anchor.getBoundingClientRect(), floating.getBoundingClientRect()];
  const below = box.bottom + 6 + size.height <= innerHeight;
  const top = below ? box.bottom + 6 : Math.max(8, box.top - 6 - size.height);
  const left = Math.min(Math.max(8, box.left), Math.max(8, innerWidth - size.width - 8));
  floating.style.top = `${top}px`;
  floating.style.left = `${left}px`;
}
