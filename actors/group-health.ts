/** What the health actor knows of one group that this node is to serve. Plain state. */
import type { GroupProof } from "../src/protocol/messages.js";
import { type Health, judge, wellFromTheStart } from "../topology/health.js";
import type { Limits } from "./limits.js";

export class GroupHealth {
  health: Health = wellFromTheStart;
  /** Of the last probe; undefined when it found nothing wrong. */
  complaint: string | undefined = undefined;
  isAsked = false;
  /** Shards are asked in turn. */
  asked = 0;
  private epoch = -1;
  private dueMs = 0;
  private proof: GroupProof | undefined = undefined;
  private answeredMs = Number.NEGATIVE_INFINITY;

  constructor(private readonly limits: Limits) {}

  get reason(): string | undefined {
    return this.health.reason;
  }

  /** It serves, by its last probe. */
  get isProven(): boolean {
    return this.proof !== undefined && this.complaint === undefined;
  }

  get isInDoubt(): boolean {
    return this.complaint !== undefined && this.reason === undefined;
  }

  /** Given to this node under `epoch`, to be served within `withinMs`. */
  assign(epoch: number, nowMs: number, withinMs: number): void {
    if (epoch === this.epoch) return;
    this.epoch = epoch;
    this.dueMs = nowMs + withinMs;
    this.proof = undefined;
    this.answeredMs = Number.NEGATIVE_INFINITY;
  }

  onProof(proof: GroupProof | undefined): void {
    if (proof !== undefined) this.proof = proof;
  }

  onShardAnswered(nowMs: number): void {
    this.answeredMs = nowMs;
  }

  judge(nowMs: number): void {
    this.complaint = this.complain(nowMs);
    this.health = judge(this.health, this.complaint, nowMs, this.limits);
  }

  /** It is not this node's now: nothing speaks against it any more. */
  rest(nowMs: number): void {
    this.epoch = -1;
    this.complaint = undefined;
    this.health = judge(this.health, undefined, nowMs, this.limits);
  }

  private complain(nowMs: number): string | undefined {
    const { proof, dueMs, limits } = this;
    if (proof === undefined) return nowMs < dueMs ? undefined : "its store does not open";
    const silentMs = nowMs - proof.provenMs;
    if (silentMs > limits.storeStallMaxMs) {
      const cause = proof.fault === undefined ? "" : `: ${proof.fault}`;
      return `no write has come through for ${Math.round(silentMs / 1_000)} s${cause}`;
    }
    const mutedMs = nowMs - Math.max(this.answeredMs, dueMs);
    return mutedMs > limits.storeStallMaxMs ? "none of its shards answers" : undefined;
  }
}
