/**
 * One group coming to this node: a short-lived worker for the new owner's side.
 *
 *   waiting ──GroupFrozen──▶ subscribed ──last TakeOver──▶ done, answers late chunks
 *      └────────── old owner gone, or past the deadline ────▲
 *
 * When it is done the host may start the group. Without an old owner it may all the
 * same: the store's fence keeps the old one out.
 */
import { unreachable } from "../src/base/assert.js";
import type { GroupFrozen, TakeOver } from "../src/protocol/messages.js";
import { Actor } from "../src/runtime/actor.js";
import { addressOn } from "../src/runtime/address.js";
import type { Asker } from "../src/runtime/envelope.js";
import type { ActorKind } from "../src/runtime/kind.js";
import type { HeldPush } from "./held-pushes.js";
import { mayServe } from "./may-serve.js";
import type { NodeContext } from "./node-context.js";
import { nodeNameOf } from "./placement-view.js";
import type { Arrive, Prepend } from "./push-intake.js";

interface DeadlineTick {
  readonly kind: "DeadlineTick";
}

interface LingerTick {
  readonly kind: "LingerTick";
}

/** From the host: the old owner's node is gone. */
export interface OldOwnerGone {
  readonly kind: "OldOwnerGone";
}

export type MoveInMessage = GroupFrozen | TakeOver | DeadlineTick | LingerTick | OldOwnerGone;

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

/** An old owner that did not hear the last answer asks again within so long. */
const lingerMs = 5_000;

export class MoveIn extends Actor<MoveInMessage> {
  private readonly taken: HeldPush[] = [];
  private alone = 0;
  private nextChunk = 0;
  private isDone = false;

  constructor(
    private readonly node: NodeContext,
    private readonly incarnation: string,
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
      case "LingerTick":
        this.stopSelf();
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
    if (!this.mayServe(from)) return;
    if (await this.arrive()) from?.answer(true);
    else from?.refuse("NOT_READY", "not subscribed");
  }

  /** Repeated chunks are answered and change nothing; new ones come too late once it is done. */
  private async onTakeOver(message: TakeOver, from: Asker | undefined): Promise<void> {
    if (!this.mayServe(from)) return;
    const isNew = message.chunk === this.nextChunk;
    const isDue = isNew ? !this.isDone : message.chunk < this.nextChunk;
    if (message.epoch !== this.epoch || !isDue) {
      from?.refuse("WRONG_EPOCH", "not the chunk that is due");
      return;
    }
    if (isNew) {
      this.nextChunk++;
      this.take(message);
      this.alone = message.alone;
      if (message.isLast) await this.letStart();
    }
    from?.answer(true);
  }

  private take({ pushes, waitedMs }: TakeOver): void {
    const nowMs = this.node.clock.monotonicMs();
    for (const [at, push] of pushes.entries()) {
      this.taken.push({ push, sinceMs: nowMs - (waitedMs?.[at] ?? 0) });
    }
  }

  /** What is answered here the old owner lets go of. */
  private mayServe(from: Asker | undefined): boolean {
    if (mayServe(this.node, this.incarnation)) return true;
    from?.refuse("NOT_READY", "this node has lost its lease");
    return false;
  }

  private async letStart(): Promise<void> {
    if (this.isDone) return;
    this.isDone = true;
    await this.arrive();
    const { group, epoch, taken, alone } = this;
    const prepend: Prepend = { kind: "Prepend", pushes: taken.splice(0), alone };
    this.tell(this.intake, prepend);
    const host = addressOn(nodeNameOf(this.node), "shards");
    this.tell(host, { kind: "GroupMayStart", group, epoch } satisfies GroupMayStart);
    this.timer(lingerMs, { kind: "LingerTick" });
  }

  private async arrive(): Promise<boolean> {
    const { requestDeadlineMs } = this.node.limits;
    const arrive: Arrive = { kind: "Arrive" };
    return (await this.ask(this.intake, arrive, requestDeadlineMs)).ok;
  }

  private get intake() {
    return addressOn(nodeNameOf(this.node), `shards/intake-${this.group}`);
  }
}
