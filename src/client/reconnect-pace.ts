/**
 * When a device may try again: full jitter that doubles, and never before a server said.
 *
 * A hint is a floor, not a wait: what is drawn comes on top of it, over as long again as
 * the hint itself, or everybody who got the same hint would come back at the same moment.
 */
import type { Clock } from "../base/clock.js";
import type { Random } from "../base/random.js";
import { hintMsMax } from "../base/retry-after.js";
import { type CloseName, closeCodeNamed } from "../protocol/close-codes.js";
import { Backoff, type BackoffLimits } from "./backoff.js";

/** Codes that ask for more than the backoff: who is overloaded, and whose quota is full. */
const floorsMs: Readonly<Record<number, number>> = {
  1013: 5_000,
  4005: 5_000,
  4007: 5_000,
};

const reasonHint = /(?:^|\s)retryAfterMs=(\d{1,9})$/;

/** How long a close asks to stay away at least, by its code and the end of its reason. */
export function closeHintMs(code: number, reason: string): number {
  const said = reasonHint.exec(reason)?.[1];
  return Math.min(hintMsMax, said === undefined ? (floorsMs[code] ?? 0) : Number(said));
}

const unavailable: CloseName = "AUTH_UNAVAILABLE";
const unavailableMs = 2_000;

/** The same of a refusal on a live connection, by its code and the end of what it says. */
export function refusalHintMs(code: string, message: string): number {
  const hintMs = closeHintMs(closeCodeNamed(code) ?? 0, message);
  return code === unavailable ? Math.max(unavailableMs, hintMs) : hintMs;
}

/** An edge that goes, sheds or is full: another one is asked first. */
export function sendsElsewhere(code: number): boolean {
  return code === 1012 || code === 1013 || code === 4000 || code === 4005;
}

const defaults: BackoffLimits = { baseMs: 500, capMs: 30_000 };
/** A server that says less is not believed: seconds taken for milliseconds would be a storm. */
const least: BackoffLimits = { baseMs: 100, capMs: 1_000 };

export class ReconnectPace {
  private readonly backoff: Backoff;
  private floorAtMs = Number.NEGATIVE_INFINITY;
  private hintMs = 0;

  /** `own`: the app's wishes; a server's parameters make it slower, never faster. */
  constructor(
    private readonly clock: Clock,
    private readonly random: Random,
    private readonly own: Partial<BackoffLimits> = {},
    private readonly onHeld: (heldMs: number) => void = () => {},
  ) {
    this.backoff = new Backoff(random, { ...defaults, ...own });
  }

  /** The dispatcher's parameters; they take the defaults' place. */
  adopt(theirs: Partial<BackoffLimits>): void {
    const slower = (name: keyof BackoffLimits): number => {
      const said = theirs[name];
      if (said === undefined || !(said > 0)) return this.own[name] ?? defaults[name];
      return Math.max(this.own[name] ?? least[name], Math.min(said, hintMsMax));
    };
    this.backoff.change({ baseMs: slower("baseMs"), capMs: slower("capMs") });
  }

  /** A server asks to stay away for so long; the longest of several counts. */
  hold(hintMs: number): void {
    if (!(hintMs > 0)) return;
    const atMs = this.clock.monotonicMs() + Math.min(hintMs, hintMsMax);
    if (atMs <= this.floorAtMs) return;
    this.floorAtMs = atMs;
    this.hintMs = Math.min(hintMs, hintMsMax);
    this.onHeld(this.hintMs);
  }

  /** What is left of the longest hint. */
  get heldMs(): number {
    return Math.max(0, this.floorAtMs - this.clock.monotonicMs());
  }

  /** Until the next attempt, which this counts. */
  nextMs(): number {
    const drawnMs = this.backoff.nextMs();
    const { heldMs } = this;
    if (heldMs === 0) return drawnMs;
    return heldMs + Math.max(drawnMs, this.random.next() * this.hintMs);
  }

  /** Soon, because something changed for the better; not all of a building at once either. */
  soonMs(): number {
    const { heldMs } = this;
    return heldMs + this.random.next() * Math.max(this.backoff.baseMs, heldMs && this.hintMs);
  }

  /** Things have gone well for a while. What a server asked for still holds. */
  reset(): void {
    this.backoff.reset();
  }

  get attempts(): number {
    return this.backoff.attempts;
  }
}
