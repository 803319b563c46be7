/**
 * How much each group of this node has to do: messages a second, smoothed so that a
 * burst of a second does not look like a load. Sampled by the host, told to the leader.
 */
import type { GroupLoad } from "../src/protocol/messages.js";

/** Smoothing's time constant; a group measured for less is not yet known well. */
export const loadWindowMs = 10_000;

/** As the group counts it. */
export interface GroupFigures {
  /** Messages since the group was made; begins anew when it crashed. */
  readonly handled: number;
  readonly sessions: number;
}

interface Measured {
  handled: number;
  sampledMs: number;
  readonly sinceMs: number;
  /** Undefined until there are two samples. */
  perSecond: number | undefined;
}

export class LoadMeter {
  private readonly measured = new Map<number, Measured>();

  /** All groups that run; those that are left out are forgotten. */
  sample(groups: ReadonlyMap<number, GroupFigures>, nowMs: number): GroupLoad[] {
    for (const group of this.measured.keys()) {
      if (!groups.has(group)) this.measured.delete(group);
    }
    return [...groups].map(([group, { handled, sessions }]) => {
      const known = this.measured.get(group);
      const measured =
        known === undefined || handled < known.handled ? begin(handled, nowMs) : known;
      this.measured.set(group, measured);
      goOn(measured, handled, nowMs);
      const { perSecond = 0, sinceMs } = measured;
      return { group, perSecond, sessions, ageMs: nowMs - sinceMs };
    });
  }
}

function begin(handled: number, nowMs: number): Measured {
  return { handled, sampledMs: nowMs, sinceMs: nowMs, perSecond: undefined };
}

function goOn(measured: Measured, handled: number, nowMs: number): void {
  const elapsedMs = nowMs - measured.sampledMs;
  if (elapsedMs <= 0) return;
  const now = ((handled - measured.handled) * 1_000) / elapsedMs;
  const { perSecond = now } = measured;
  const share = 1 - Math.exp(-elapsedMs / loadWindowMs);
  measured.perSecond = perSecond + share * (now - perSecond);
  measured.handled = handled;
  measured.sampledMs = nowMs;
}
