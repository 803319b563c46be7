/**
 * One group leaving this node: a short-lived worker for the old owner's side.
 *
 *   hold the intake, freeze the group      (the host has told both)
 *   ──GroupFrozen──▶ new owner subscribes and answers
 *   overlap: both are subscribed
 *   unsubscribe, take what the intake held, wait until the store is closed
 *   ──TakeOver, chunk by chunk──▶ new owner answers each
 *
 * Invariant: a push is handed over, or given back to the intake, or refused as
 * retryable when nobody knows which of the two owners has it.
 */
import { unreachable } from "../src/base/assert.js";
import type { GroupFrozen, ReceivedPush, TakeOver } from "../src/protocol/messages.js";
import type { Shard } from "../src/protocol/shards.js";
import { Actor } from "../src/runtime/actor.js";
import { type Address, addressOn } from "../src/runtime/address.js";
import type { ActorKind } from "../src/runtime/kind.js";
import type { Member } from "../topology/placement-table.js";
import { type HeldPush, splitOverdue } from "./held-pushes.js";
import { mayServe } from "./may-serve.js";
import type { NodeContext } from "./node-context.js";
import { overdueBefore } from "./open-requests.js";
import { nodeNameOf } from "./placement-view.js";
import { refusePush } from "./push-answering.js";
import type { HandedOut, MarkAlone, Prepend } from "./push-intake.js";

interface Announce {
  readonly kind: "Announce";
}

interface OverlapEnded {
  readonly kind: "OverlapEnded";
}

/** While the store is being closed it is looked what waits for too long. */
interface HeldTick {
  readonly kind: "HeldTick";
}

/** From the host: the group's actor is gone and its store closed. */
export interface GroupStopped {
  readonly kind: "GroupStopped";
}

export type MoveOutMessage = Announce | OverlapEnded | HeldTick | GroupStopped;

const moveOutKind: ActorKind = {
  name: "move-out",
  mailbox: { max: 64, onFull: "reject" },
  restart: "temporary",
};

const announceRetryMs = 20;
const askDeadlineMs = 1_000;
const chunkPushesMax = 500;
const chunkBytesMax = 256 * 1024;
const chunkTries = 3;
const heldTickMs = 250;

/** What leaves, under which epoch, to whom; and whether its actor is gone already. */
export interface Leaving {
  readonly group: number;
  readonly epoch: number;
  readonly to: Member;
  readonly isStoreClosed: boolean;
}

export class MoveOut extends Actor<MoveOutMessage> {
  private held: HeldPush[] | undefined = undefined;
  private alone = 0;
  /** So many of `held`, from the first, are in a chunk whose answer did not come. */
  private inDoubt = 0;
  /** No announcement can have been heard by the new owner so far. */
  private isAlone = true;
  private isStoreClosed: boolean;

  constructor(
    private readonly node: NodeContext,
    private readonly incarnation: string,
    private readonly leaving: Leaving,
  ) {
    super();
    this.isStoreClosed = leaving.isStoreClosed;
  }

  get kind(): ActorKind {
    return moveOutKind;
  }

  private get newOwner(): Address {
    return addressOn(nodeNameOf(this.leaving.to), `shards/in-${this.leaving.group}`);
  }

  private get intake(): Address {
    return addressOn(nodeNameOf(this.node), `shards/intake-${this.leaving.group}`);
  }

  protected override started(): void {
    this.timer(0, { kind: "Announce" });
  }

  /** What is left goes back to the intake, which serves it here or refuses it. */
  protected override stopping(): void {
    const left = this.held ?? [];
    for (const { push } of left.splice(0, this.inDoubt)) this.refuse(push);
    if (left.length === 0) return;
    const back: Prepend = { kind: "Prepend", pushes: left, alone: left.length };
    this.tell(this.intake, back);
  }

  async receive(message: MoveOutMessage): Promise<void> {
    switch (message.kind) {
      case "Announce":
        await this.onAnnounce();
        return;
      case "OverlapEnded":
        await this.onOverlapEnded();
        return;
      case "HeldTick":
        this.onHeldTick();
        return;
      case "GroupStopped":
        this.isStoreClosed = true;
        await this.handOver();
        return;
      default:
        unreachable(message);
    }
  }

  private async onAnnounce(): Promise<void> {
    if (!this.mayServe) return;
    if (this.isAlone) this.tell(this.intake, { kind: "MarkAlone" } satisfies MarkAlone);
    const frozen: GroupFrozen = { kind: "GroupFrozen", epoch: this.leaving.epoch };
    const answer = await this.ask(this.newOwner, frozen, askDeadlineMs);
    if (answer.ok) {
      this.timer(this.node.limits.moveOverlapMs, { kind: "OverlapEnded" });
      return;
    }
    // Not there yet: it learns of the move by its own watch of the table.
    if (answer.code !== "NO_SUCH_ACTOR") this.isAlone = false;
    this.timer(announceRetryMs, { kind: "Announce" });
  }

  private async onOverlapEnded(): Promise<void> {
    const answer = await this.ask<HandedOut>(this.intake, { kind: "Leave" }, askDeadlineMs);
    this.held = answer.ok ? [...answer.value.pushes] : [];
    this.alone = answer.ok ? answer.value.alone : 0;
    this.onHeldTick();
    await this.handOver();
  }

  private onHeldTick(): void {
    if (this.held === undefined || this.isStoreClosed) return;
    const { clock, limits } = this.node;
    const beforeMs = overdueBefore(clock.monotonicMs(), limits);
    const { overdue, kept, alone } = splitOverdue(this.held, this.alone, beforeMs);
    this.held = kept;
    this.alone = alone;
    for (const { push } of overdue) this.refuse(push);
    this.timer(heldTickMs, { kind: "HeldTick" });
  }

  private async handOver(): Promise<void> {
    if (this.held === undefined || !this.isStoreClosed) return;
    for (let chunk = 0; ; chunk++) {
      const pushes = takeChunk(this.held);
      const isLast = this.held.length === pushes.length;
      if (!(await this.handOverChunk(this.toMessage(chunk, isLast, pushes)))) break;
      this.held.splice(0, pushes.length);
      this.inDoubt = 0;
      if (isLast) break;
    }
    this.stopSelf();
  }

  private toMessage(chunk: number, isLast: boolean, held: readonly HeldPush[]): TakeOver {
    const nowMs = this.node.clock.monotonicMs();
    const pushes = held.map(({ push }) => push);
    const waitedMs = held.map(({ sinceMs }) => Math.max(0, Math.round(nowMs - sinceMs)));
    const { alone } = this;
    const { epoch } = this.leaving;
    return { kind: "TakeOver", epoch, chunk, isLast, pushes, alone, waitedMs };
  }

  private async handOverChunk(message: TakeOver): Promise<boolean> {
    for (let tries = 0; tries < chunkTries && this.mayServe && this.isDue; tries++) {
      this.inDoubt = message.pushes.length;
      const answer = await this.ask(this.newOwner, message, askDeadlineMs);
      if (answer.ok) return true;
    }
    return false;
  }

  private get mayServe(): boolean {
    return mayServe(this.node, this.incarnation);
  }

  /** Not called off; as long as it tries, nobody serves the group. */
  private get isDue(): boolean {
    const { group, epoch } = this.leaving;
    return this.node.view.table.epochOf(group as Shard) === epoch;
  }

  private refuse(push: ReceivedPush): void {
    if (!this.mayServe) return;
    const text = "handed over with unknown fate; repeat it under its id";
    refusePush(this.node.bus, push, "TIMEOUT", text);
  }
}

function takeChunk(held: readonly HeldPush[]): HeldPush[] {
  let bytes = 0;
  let count = 0;
  while (count < Math.min(held.length, chunkPushesMax) && bytes < chunkBytesMax) {
    bytes += held[count]?.push.payload.length ?? 0;
    count++;
  }
  return held.slice(0, count);
}
