/** Short words at the edge of the screen. */

export interface Toast {
  readonly id: number;
  readonly text: string;
  readonly bad: boolean;
  readonly action?: { readonly name: string; readonly run: () => void };
}

const toasts = $state<Toast[]>([]);
let lastId = 0;

export const all = (): readonly Toast[] => toasts;

export function dismiss(id: number): void {
  const at = toasts.findIndex((toast) => toast.id === id);
  if (at >= 0) toasts.splice(at, 1);
}

export function say(text: string, action?: Toast["action"]): void {
  show({ id: ++lastId, text, bad: false, ...(action ? { action } : {}) }, action ? 8000 : 4000);
}

/** Says what went wrong; what was only broken off is not worth a word. */
export function complain(error: unknown): void {
  if (error instanceof DOMException && error.name === "AbortError") return;
  show({ id: ++lastId, text: error instanceof Error ? error.message : String(error), bad: true }, 9000);
}

function show(toast: Toast, ms: number): void {
  toasts.push(toast);
  if (toasts.length > 3) toasts.shift();
  setTimeout(() => dismiss(toast.id), ms);
}
