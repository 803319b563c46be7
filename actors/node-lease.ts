/**
 * This node's record in the placement bucket: claimed, renewed, given up. It is the
 * lease: who cannot renew it in time serves no shard.
 *
 * Invariant: the deadline is counted from before the last successful write was sent.
 */
import { Fault, type Result, refused } from "../src/base/result.js";
import { pingSubject } from "../src/protocol/subjects.js";
import {
  decodeNodeRecord,
  encodeNodeRecord,
  type NodeRecord,
  nodeKey,
} from "../topology/node-record.js";
import type { NodeContext } from "./node-context.js";

export class NodeLease {
  private revision = 0;
  private readonly startedAtMs: number;

  constructor(private readonly node: NodeContext) {
    this.startedAtMs = node.clock.wallMs();
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
    const { placement, incarnation, nodeId } = this.node;
    const present = await placement.get(key);
    if (present === undefined) return placement.create(key, record);
    const holder = decodeNodeRecord(present.value);
    const isOther = holder !== undefined && holder.incarnation !== incarnation;
    if (isOther && (await this.isAnswering(holder))) {
      const message = `node ${nodeId} is running already (pid ${holder.pid})`;
      throw new Fault("NAME_TAKEN", "not-done", message);
    }
    return placement.update(key, record, present.revision);
  }

  /** An own renewal of unknown outcome may have taken effect: go on from it. */
  private async adopt(key: string, record: Uint8Array): Promise<Result<number, "CONFLICT">> {
    const { placement, incarnation } = this.node;
    const present = await placement.get(key);
    const holder = present && decodeNodeRecord(present.value);
    if (present === undefined || holder?.incarnation !== incarnation) {
      return refused("CONFLICT", "the lease is not this node's any more");
    }
    return placement.update(key, record, present.revision);
  }

  private async isAnswering(holder: NodeRecord): Promise<boolean> {
    try {
      const subject = pingSubject(holder.nodeId, holder.incarnation);
      await this.node.bus.request(subject, new Uint8Array(0), this.node.limits.leaseMs);
      return true;
    } catch (cause) {
      // Silence is not proof of death, but its lease has run out by then.
      if (cause instanceof Fault) return false;
      throw cause;
    }
  }

  private record(): Uint8Array {
    const { nodeId, incarnation, idc, version, edgeUrl, limits, processes, view } = this.node;
    const { unwell, isInDoubt, cannotServe } = view.health;
    return encodeNodeRecord({
      nodeId,
      incarnation,
      idc,
      version,
      edgeUrl,
      ...processes.own,
      leaseMs: limits.leaseMs,
      startedAtMs: this.startedAtMs,
      ...(unwell === undefined ? {} : { unwell }),
      ...(isInDoubt ? { isInDoubt } : {}),
      ...(cannotServe.length === 0 ? {} : { cannotServe }),
    });
  }
}
