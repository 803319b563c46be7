/**
 * Self-fencing, by this checker's own record of each node's lease: a node whose lease has
 * run out attaches nobody, and accepts and delivers nothing at most once (invariant 1).
 * What it committed under a valid fence it may still answer, and deliver: edges know its
 * epoch, and wire-checks.ts looks after that.
 */
import { unpackValue } from "../../src/protocol/codec.js";
import type { ToEdge } from "../../src/protocol/messages.js";
import type { PushAnswer } from "../../src/protocol/push-answer.js";
import { nodeKeyPrefix } from "../../topology/node-record.js";
import type { BusWatcher } from "./sim-bus.js";
import type { KeyValueWatcher } from "./sim-key-value.js";
import type { SimProcess } from "./sim-process.js";
import type { World } from "./world.js";

const fenced: ReadonlySet<ToEdge["kind"]> = new Set(["Attached", "DeliverPassing"]);

export class LeaseChecks implements KeyValueWatcher, BusWatcher {
  /** By process: the true time after which it cannot believe in its lease any more. */
  private readonly untilMs = new Map<string, number>();
  private readonly processes = new Map<string, SimProcess>();
  readonly counts = { lapses: 0 };

  constructor(
    private readonly world: World,
    private readonly leaseMs: number,
  ) {}

  watch(process: SimProcess): void {
    this.processes.set(process.name, process);
  }

  /** The deadline counts from before the write was sent, so from now on it is an upper bound. */
  onWrite(by: string, key: string, value: Uint8Array | undefined): void {
    const process = this.processes.get(by);
    if (process === undefined || value === undefined || !key.startsWith(nodeKeyPrefix)) return;
    if ((this.untilMs.get(by) ?? 0) < this.world.nowMs) this.counts.lapses++;
    this.untilMs.set(by, this.world.nowMs + this.leaseMs / process.rate);
  }

  onPublish(from: string, subject: string, payload: Uint8Array): void {
    if (!subject.startsWith("_INBOX.") || payload.length === 0) return;
    const answer = unpackValue(payload) as PushAnswer;
    if (answer.ok && answer.seq === 0) this.onEffect(from, "answered ok at most once");
  }

  onTold(from: string, message: ToEdge): void {
    if (fenced.has(message.kind)) this.onEffect(from, `told an edge ${message.kind}`);
  }

  private onEffect(by: string, what: string): void {
    const process = this.processes.get(by);
    const untilMs = this.untilMs.get(by);
    if (process === undefined || untilMs === undefined) return;
    const { world } = this;
    world.check(world.nowMs <= untilMs, 1, () => {
      const pastMs = Math.round(world.nowMs - untilMs);
      return `${by} ${what}, ${pastMs} ms after its lease had run out`;
    });
  }
}
