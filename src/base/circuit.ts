/**
 * Whether it is worth asking something that has failed or hung: a circuit breaker whose
 * time is given to it, so that it works on virtual time too.
 *
 *   closed ──`failuresMax` in a row, or one that is slow──▶ open
 *     ▲                                                       │
 *     └──────── a call that began since then succeeds ────────┘
 *
 * Who has the circuit makes that call while it is open: one at a time, and a cheap one.
 */
export class Circuit {
  private failures = 0;
  private openedMs: number | undefined = undefined;
  /** How often it has opened. */
  trips = 0;

  constructor(private readonly failuresMax: number) {}

  get isOpen(): boolean {
    return this.openedMs !== undefined;
  }

  noteFailure(nowMs: number): void {
    if (++this.failures >= this.failuresMax) this.open(nowMs);
  }

  noteSlow(nowMs: number): void {
    this.open(nowMs);
  }

  /** Of a call that began at `startedMs`: one from before it opened proves nothing. */
  noteSuccess(startedMs: number): void {
    if (this.openedMs !== undefined && startedMs < this.openedMs) return;
    this.failures = 0;
    this.openedMs = undefined;
  }

  reset(): void {
    this.failures = 0;
    this.openedMs = undefined;
  }

  private open(nowMs: number): void {
    if (this.openedMs === undefined) this.trips++;
    this.openedMs ??= nowMs;
  }
}
