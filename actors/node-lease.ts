/**
 * The record of one incarnation of this node in the placement bucket: claimed, renewed,
 * given up. It is the lease: who cannot renew it in time serves no shard, and goes on
 * as another incarnation with a lease of its own.
 *
 * Invariant: the deadline is counted from before the last successful write was sent.
 */
import { Fault, type Result, refused } from "../src/base/result.js";
import type { KeyValueEntry } from "../src/ports/key-value.js";
import { pingSubject } from "../src/protocol/subjects.js";
import type { Bus } from "../src/runtime/ports.js";
import {
  decodeNodeRecord,
  encodeNodeRecord,
  isOfAnotherVersion,
  type NodeRecord,
  nodeKey,
} from "../topology/node-record.js";
import type { NodeContext } from "./node-context.js";

export class NodeLease {
  private revision = 0;
  private readonly incarnation: string;

  /** `startedAtMs`: of the process. */
  constructor(
    private readonly node: NodeContext,
    private readonly startedAtMs: number,
  ) {
    this.incarnation = node.incarnation;
  }

  /**
   * The deadline that this renewal gives, on the monotonic clock; undefined when the
   * record is not this node's any more (given up by the leader, or taken).
   * Throws Fault: NAME_TAKEN when another live process has the name, or the bucket's.
   */
  async renew(): Promise<number | undefined> {
    const { clock, limits, placement, nodeId } = this.node;
    const sentMs = clock.monotonicMs();
    const key = nodeKey(nodeId);
    const record = this.record();
    let answer =
      this.revision === 0
        ? await this.claim(key, record)
        : await placement.update(key, record, this.revision);
    if (!answer.ok && this.revision !== 0) answer = await this.adopt(key, record);
    this.revision = answer.ok ? answer.value : 0;
    return answer.ok ? sentMs + limits.leaseMs : undefined;
  }

  /** At once, so that nobody has to wait for it to run out. */
  async giveUp(): Promise<void> {
    const { revision } = this;
    if (revision === 0) return;
    this.revision = 0;
    await this.node.placement.delete(nodeKey(this.node.nodeId), revision);
  }

  private async claim(key: string, record: Uint8Array): Promise<Result<number, "CONFLICT">> {
    const { placement } = this.node;
    const present = await placement.get(key);
    if (present === undefined) return placement.create(key, record);
    const holder = readHolder(present);
    const isOther = holder !== undefined && !this.isOwn(holder);
    if (isOther) await refuseLiveName(this.node.bus, holder, this.node.limits.leaseMs);
    return placement.update(key, record, present.revision);
  }

  /** An own renewal of unknown outcome may have taken effect: go on from it. */
  private async adopt(key: string, record: Uint8Array): Promise<Result<number, "CONFLICT">> {
    const { placement } = this.node;
    const present = await placement.get(key);
    const holder = present && readHolder(present);
    // Noise over an own record is no claim of anybody else.
    const isOwn = holder === undefined || holder.incarnation === this.incarnation;
    if (present === undefined || !isOwn) {
      return refused("CONFLICT", "the lease is not this node's any more");
    }
    return placement.update(key, record, present.revision);
  }

  /** Also of a former incarnation: it was this very process. */
  private isOwn(holder: NodeRecord): boolean {
    const { pid, processStart } = this.node.processes.own;
    const isOwnProcess = holder.pid === pid && holder.processStart === processStart;
    // Without a start time a pid may be anybody's.
    return holder.incarnation === this.incarnation || (isOwnProcess && processStart !== "");
  }

  private record(): Uint8Array {
    const { nodeId, idc, version, edgeUrl, edgeUrls = [], limits, processes, view } = this.node;
    const { unwell, isInDoubt, cannotServe } = view.health;
    return encodeNodeRecord({
      nodeId,
      incarnation: this.incarnation,
      idc,
      version,
      edgeUrl,
      ...(edgeUrls.length > 1 ? { edgeUrls } : {}),
      ...(view.isEdgeClosed ? { isEdgeClosed: true } : {}),
      ...processes.own,
      leaseMs: limits.leaseMs,
      startedAtMs: this.startedAtMs,
      ...(unwell === undefined ? {} : { unwell }),
      ...(isInDoubt ? { isInDoubt } : {}),
      ...(cannotServe.length === 0 ? {} : { cannotServe }),
    });
  }
}

/**
 * Undefined for noise, which is nobody's. Throws Fault("BAD_RECORD") for a record of
 * another version: who holds it cannot be told, so that it is not taken either.
 */
export function readHolder({ key, value, revision }: KeyValueEntry): NodeRecord | undefined {
  const holder = decodeNodeRecord(value);
  if (!isOfAnotherVersion(value)) return holder;
  const message =
    `the record ${key} (revision ${revision}) is of a version that is not known here; ` +
    "it stays as it is until it is deleted";
  throw new Fault("BAD_RECORD", "not-done", message);
}

/**
 * Two processes under one name would answer for one another: throws Fault("NAME_TAKEN")
 * when the holder answers before its lease, or one's own, would have run out.
 */
export async function refuseLiveName(bus: Bus, holder: NodeRecord, leaseMs: number): Promise<void> {
  const { nodeId, incarnation, pid } = holder;
  const withinMs = Math.max(leaseMs, holder.leaseMs);
  try {
    await bus.request(pingSubject(nodeId, incarnation), new Uint8Array(0), withinMs);
  } catch (cause) {
    // Silence is not proof of death, but its lease has run out by then.
    if (cause instanceof Fault) return;
    throw cause;
  }
  const message = `a node named ${nodeId} is running already (pid ${pid}); give this one another name`;
  throw new Fault("NAME_TAKEN", "not-done", message);
}
