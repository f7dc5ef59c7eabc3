/** What listening to a track says about it. */

const LONG = 240; // seconds; nobody has to hear half of a symphony for it to count

/**
 * What to report when a track is left.
 *
 * @param heard seconds of it that sounded
 * @param duration its length in seconds
 * @param passed whether the listener asked for the next one, rather than for something else
 * @returns a play when half of it was heard, or four minutes; a skip when it was passed over before
 */
export function said(heard: number, duration: number, passed: boolean): "play" | "skip" | undefined {
  if (heard >= Math.min(duration / 2, LONG) && heard > 0) return "play";
  return passed ? "skip" : undefined;
}
