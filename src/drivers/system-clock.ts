/** Time and randomness of this process; the only place beside main/ that may ask for them. */
import type { Cancel, Clock } from "../base/clock.js";
import type { Random } from "../base/random.js";

// setTimeout takes 32 bits of milliseconds and fires at once beyond them.
const TIMEOUT_MAX_MS = 2 ** 31 - 1;

function after(delayMs: number, callback: () => void): Cancel {
  let leftMs = delayMs;
  let handle: NodeJS.Timeout;
  const arm = (): void => {
    const stepMs = Math.min(leftMs, TIMEOUT_MAX_MS);
    leftMs -= stepMs;
    handle = setTimeout(leftMs > 0 ? arm : callback, stepMs);
  };
  arm();
  return () => clearTimeout(handle);
}

export const systemClock: Clock = {
  wallMs: () => Date.now(),
  monotonicMs: () => performance.now(),
  after,
  soon: (callback) => void setImmediate(callback),
};

export const systemRandom: Random = { next: () => Math.random() };
