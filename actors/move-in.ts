/**
 * One group coming to this node: a short-lived worker for the new owner's side.
 * Subscribes when the old owner has frozen, takes over what it held, then lets the
 * host start the group. Without an old owner, or past the deadline, it starts the
 * group all the same: the store's fence keeps the old one out.
 */
import { unreachable } from "../src/base/assert.js";
import type { GroupFrozen, ReceivedPush, TakeOver } from "../src/protocol/messages.js";
import { Actor } from "../src/runtime/actor.js";
import { addressOn } from "../src/runtime/address.js";
import type { Asker } from "../src/runtime/envelope.js";
import type { ActorKind } from "../src/runtime/kind.js";
import type { NodeContext } from "./node-context.js";
import { nodeNameOf } from "./placement-view.js";

interface DeadlineTick {
  readonly kind: "DeadlineTick";
}

/** From the host: the old owner's node is gone. */
export interface OldOwnerGone {
  readonly kind: "OldOwnerGone";
}

export type MoveInMessage = GroupFrozen | TakeOver | DeadlineTick | OldOwnerGone;

/** To the host: the store is free and the intake holds what has come; start the group. */
export interface GroupMayStart {
  readonly kind: "GroupMayStart";
  readonly group: number;
  readonly epoch: number;
}

const moveInKind: ActorKind = {
  name: "move-in",
  mailbox: { max: 64, onFull: "reject" },
  restart: "temporary",
};

export class MoveIn extends Actor<MoveInMessage> {
  private readonly taken: ReceivedPush[] = [];
  private nextChunk = 0;

  constructor(
    private readonly node: NodeContext,
    private readonly group: number,
    private readonly epoch: number,
  ) {
    super();
  }

  get kind(): ActorKind {
    return moveInKind;
  }

  protected override started(): void {
    this.timer(this.node.limits.moveDeadlineMs, { kind: "DeadlineTick" });
  }

  async receive(message: MoveInMessage, from: Asker | undefined): Promise<void> {
    switch (message.kind) {
      case "GroupFrozen":
        await this.onFrozen(message, from);
        return;
      case "TakeOver":
        await this.onTakeOver(message, from);
        return;
      case "DeadlineTick":
      case "OldOwnerGone":
        await this.letStart();
        return;
      default:
        unreachable(message);
    }
  }

  private async onFrozen({ epoch }: GroupFrozen, from: Asker | undefined): Promise<void> {
    if (epoch !== this.epoch) {
      from?.refuse("WRONG_EPOCH", `this move is under epoch ${this.epoch}`);
      return;
    }
    if (await this.arrive()) from?.answer(true);
    else from?.refuse("NOT_READY", "not subscribed");
  }

  /** Late and repeated chunks are answered, and change nothing. */
  private async onTakeOver(message: TakeOver, from: Asker | undefined): Promise<void> {
    if (message.epoch !== this.epoch || message.chunk > this.nextChunk) {
      from?.refuse("WRONG_EPOCH", "not the chunk that is due");
      return;
    }
    if (message.chunk === this.nextChunk) {
      this.nextChunk++;
      this.taken.push(...message.pushes);
      if (message.isLast) await this.letStart();
    }
    from?.answer(true);
  }

  private async letStart(): Promise<void> {
    await this.arrive();
    const { group, epoch } = this;
    this.tell(this.intake, { kind: "Prepend", pushes: this.taken });
    const host = addressOn(nodeNameOf(this.node), "shards");
    this.tell(host, { kind: "GroupMayStart", group, epoch } satisfies GroupMayStart);
    this.stopSelf();
  }

  private async arrive(): Promise<boolean> {
    const { requestDeadlineMs } = this.node.limits;
    return (await this.ask(this.intake, { kind: "Arrive" }, requestDeadlineMs)).ok;
  }

  private get intake() {
    return addressOn(nodeNameOf(this.node), `shards/intake-${this.group}`);
  }
}
