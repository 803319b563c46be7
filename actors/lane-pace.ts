/**
 * What the lanes of one group share: the bound on what is in flight, as measured, and how
 * it is divided by weight and by what each has waiting.
 */
import type { LaneSettings } from "../src/protocol/lane-record.js";
import { type LimitRules, type LimitState, nextLimit, startLimit } from "../topology/lane-limit.js";
import { shareOut } from "../topology/lane-shares.js";

interface Lane {
  settings: LaneSettings;
  isOwn: boolean;
  ready: number;
  inFlight: number;
}

export class LanePace {
  private readonly lanes = new Map<string, Lane>();
  private state: LimitState;
  private inFlight = 0;

  /**
   * `groupCount`: the groups among which a lane's workers are divided. `bytesMax`: the
   * payloads that the lanes of this group may keep together.
   */
  constructor(
    private readonly rules: LimitRules,
    private readonly groupCount: number,
    private readonly bytesMax: number = Number.POSITIVE_INFINITY,
  ) {
    this.state = startLimit(rules);
  }

  /** Bytes of payloads that each lane may keep. */
  get bytesShare(): number {
    return this.bytesMax / Math.max(1, this.lanes.size);
  }

  /** One app's alone. */
  isOwn(lane: string): boolean {
    return this.lanes.get(lane)?.isOwn === true;
  }

  get limit(): number {
    return Math.floor(this.state.limit);
  }

  set(lane: string, settings: LaneSettings & { readonly app?: string }): void {
    const known = this.lanes.get(lane);
    const isOwn = settings.app !== undefined;
    if (known === undefined) this.lanes.set(lane, { settings, isOwn, ready: 0, inFlight: 0 });
    else Object.assign(known, { settings, isOwn });
  }

  remove(lane: string): void {
    this.reset(lane);
    this.lanes.delete(lane);
  }

  /** Its worker begins anew: nothing of it is in flight as far as anybody listens. */
  reset(lane: string): void {
    const own = this.lanes.get(lane);
    if (own === undefined) return;
    this.inFlight -= own.inFlight;
    own.inFlight = 0;
    own.ready = 0;
  }

  /** How many more the lane may start, of the `ready` that it could. */
  room(lane: string, ready: number): number {
    const own = this.lanes.get(lane);
    if (own === undefined) return 0;
    own.ready = ready;
    if (ready === 0) return 0;
    const all = [...this.lanes.values()];
    const shares = shareOut(
      this.limit,
      all.map(({ settings, ready: waiting, inFlight }) => ({
        weight: settings.weight,
        wanted: Math.min(waiting + inFlight, this.workersOf(settings)),
      })),
    );
    return Math.max(0, (shares[all.indexOf(own)] ?? 0) - own.inFlight);
  }

  started(lane: string): void {
    const own = this.lanes.get(lane);
    if (own === undefined) return;
    own.ready--;
    own.inFlight++;
    this.inFlight++;
  }

  /** `tookMs` is absent where it tells nothing of the store. */
  ended(lane: string, nowMs: number, tookMs?: number): void {
    const own = this.lanes.get(lane);
    if (own === undefined) return;
    if (tookMs !== undefined) {
      this.state = nextLimit(this.state, { nowMs, tookMs, inFlight: this.inFlight }, this.rules);
    }
    own.inFlight--;
    this.inFlight--;
  }

  private workersOf({ workers }: LaneSettings): number {
    return workers === 0 ? 0 : Math.max(1, Math.floor(workers / this.groupCount));
  }
}
