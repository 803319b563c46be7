/**
 * The lanes of one group of shards, while this node serves it: a worker for each lane that
 * there is, under the bound that they share.
 *
 * Invariant: it lives only while the group serves under `epoch`; a later owner's workers
 * take the lanes from these.
 */
import type { LaneRecord } from "../src/protocol/lane-record.js";
import { Actor } from "../src/runtime/actor.js";
import type { ActorKey } from "../src/runtime/address.js";
import type { ActorKind } from "../src/runtime/kind.js";
import { LanePace } from "./lane-pace.js";
import { type LaneDuty, LaneWorker } from "./lane-worker.js";

/** The directory is in memory, and looked at so often. */
interface LanesTick {
  readonly kind: "LanesTick";
}

const groupKind: ActorKind = {
  name: "lane-group",
  mailbox: { max: 64, onFull: "reject" },
  restart: "permanent",
  intensity: { restarts: 50, withinMs: 10_000 },
};

const lookEveryMs = 500;

export class LaneGroup extends Actor<LanesTick> {
  private readonly duty: LaneDuty;

  constructor(duty: Omit<LaneDuty, "pace">) {
    super();
    const { lanes, node } = duty;
    const { groupCount } = node.store;
    const { inFlight, payloadBytesMax } = lanes.limits;
    const pace = new LanePace(inFlight, groupCount, payloadBytesMax / groupCount);
    this.duty = { ...duty, pace };
  }

  get kind(): ActorKind {
    return groupKind;
  }

  protected override started(): void {
    this.look();
  }

  protected override createChild(key: ActorKey): Actor {
    return new LaneWorker(this.duty, String(key));
  }

  receive(_tick: LanesTick): void {
    this.look();
  }

  private look(): void {
    const there = new Map<string, LaneRecord>();
    for (const record of this.duty.lanes.directory.all()) there.set(record.lane, record);
    for (const lane of this.childKeys()) {
      if (there.has(String(lane))) continue;
      this.stopChild(lane);
      this.duty.pace.remove(String(lane));
    }
    for (const [lane, record] of there) {
      this.duty.pace.set(lane, record);
      if (!this.hasChild(lane)) this.spawn(lane);
    }
    this.timer(lookEveryMs, { kind: "LanesTick" });
  }

  override inspect(): Record<string, unknown> {
    return { group: this.duty.group, epoch: this.duty.epoch, inFlightMax: this.duty.pace.limit };
  }
}
