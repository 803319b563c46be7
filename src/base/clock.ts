/**
 * Time as a port, so that the same code runs under the simulator.
 *
 * `wallMs` may jump and is only for stamps that people or other machines read;
 * every deadline is measured on `monotonicMs`.
 */
export interface Clock {
  /** Milliseconds since the Unix epoch; may jump either way. */
  wallMs(): number;
  /** Milliseconds from an arbitrary start; never goes back. */
  monotonicMs(): number;
  /** Runs `callback` once after `delayMs` (>= 0); the handle cancels it. */
  after(delayMs: number, callback: () => void): Cancel;
  /** Runs `callback` when the current turn of the event loop has read its input. */
  soon(callback: () => void): void;
}

export type Cancel = () => void;
