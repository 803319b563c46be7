/**
 * What the bus brings for the shards of one group: passed on while the group serves,
 * held while it does not (it opens, restarts, or moves).
 *
 *   away ──Arrive──▶ holding ──Open──▶ open
 *                       ▲ └──Leave──▶ away, its pushes handed out
 *                       └────Hold──────┘
 *
 * Invariant: pushes are passed on in the order they came; those that never will be
 * are refused as retryable.
 */
import { unreachable } from "../src/base/assert.js";
import type { ReceivedPush } from "../src/protocol/messages.js";
import { encodingOf } from "../src/protocol/push-command.js";
import type { Shard } from "../src/protocol/shards.js";
import { isReplySubject, parseShardPush, shardWildcard } from "../src/protocol/subjects.js";
import { Actor } from "../src/runtime/actor.js";
import type { Ref } from "../src/runtime/cell.js";
import type { Asker } from "../src/runtime/envelope.js";
import type { ActorKind } from "../src/runtime/kind.js";
import type { BusMessage, BusSubscription } from "../src/runtime/ports.js";
import { withoutHanded } from "./handed-over.js";
import type { NodeContext } from "./node-context.js";
import { answerRefused } from "./push-answering.js";

interface ReceivePush {
  readonly kind: "ReceivePush";
  readonly push: ReceivedPush;
}

/** Asked: subscribe, and hold; answered when the server has it. */
export interface Arrive {
  readonly kind: "Arrive";
}

/** The group serves: pass on what is held, then what comes. */
export interface Open {
  readonly kind: "Open";
  readonly group: Ref;
}

export interface Hold {
  readonly kind: "Hold";
}

/** Asked: unsubscribe; answered with what is held once nothing more can come. */
export interface Leave {
  readonly kind: "Leave";
}

/** To itself, behind what the server still sent before it unsubscribed. */
interface HandOut {
  readonly kind: "HandOut";
  readonly from: Asker | undefined;
}

/** The old owner's pushes go first; those that both received count once. */
export interface Prepend {
  readonly kind: "Prepend";
  readonly pushes: readonly ReceivedPush[];
}

export type IntakeMessage = ReceivePush | Arrive | Open | Hold | Leave | HandOut | Prepend;

const intakeKind: ActorKind = {
  name: "push-intake",
  mailbox: { max: 131_072, onFull: "reject" },
  restart: "transient",
  quantum: 1_024,
};

export class PushIntake extends Actor<IntakeMessage> {
  private subscriptions: BusSubscription[] = [];
  private held: ReceivedPush[] = [];
  private heldBytes = 0;
  private group: Ref | undefined = undefined;
  private refused = 0;

  constructor(
    private readonly node: NodeContext,
    private readonly shards: readonly Shard[],
  ) {
    super();
  }

  get kind(): ActorKind {
    return intakeKind;
  }

  protected override stopping(): void {
    this.unsubscribe();
    for (const push of this.held) this.refuse(push);
  }

  receive(message: IntakeMessage, from: Asker | undefined): void | Promise<void> {
    switch (message.kind) {
      case "ReceivePush":
        this.onPush(message.push);
        return;
      case "Arrive":
        return this.onArrive(from);
      case "Open":
        this.onOpen(message.group);
        return;
      case "Hold":
        this.group = undefined;
        return;
      case "Leave":
        return this.onLeave(from);
      case "HandOut":
        this.onHandOut(message.from);
        return;
      case "Prepend":
        this.onPrepend(message.pushes);
        return;
      default:
        return unreachable(message);
    }
  }

  private onPush(push: ReceivedPush): void {
    if (this.group !== undefined) {
      this.system.tell(this.group, { kind: "ForShard", shard: shardIn(push.subject), message: toShard(push) });
      return;
    }
    const { heldPushesMax, heldBytesMax } = this.node.limits;
    if (this.held.length >= heldPushesMax || this.heldBytes >= heldBytesMax) {
      this.refuse(push);
      return;
    }
    this.held.push(push);
    this.heldBytes += push.payload.length;
  }

  private async onArrive(from: Asker | undefined): Promise<void> {
    const { bus } = this.node;
    if (this.subscriptions.length === 0) {
      const { system, ref } = this;
      const onMessage = ({ subject, payload, reply }: BusMessage) => {
        const push = reply === undefined ? { subject, payload } : { subject, payload, reply };
        system.tell(ref, { kind: "ReceivePush", push });
      };
      this.subscriptions = this.shards.map((shard) =>
        bus.subscribe(shardWildcard(shard), onMessage),
      );
      await bus.flush();
    }
    from?.answer(true);
  }

  private onOpen(group: Ref): void {
    this.group = group;
    const { held } = this;
    this.held = [];
    this.heldBytes = 0;
    for (const push of held) this.onPush(push);
  }

  private async onLeave(from: Asker | undefined): Promise<void> {
    this.group = undefined;
    this.unsubscribe();
    // What the server sent before it knew has arrived when it answers; it waits in the mailbox.
    await this.node.bus.flush();
    this.system.tell(this.ref, { kind: "HandOut", from });
  }

  private onHandOut(from: Asker | undefined): void {
    const { held } = this;
    this.held = [];
    this.heldBytes = 0;
    from?.answer(held);
  }

  private onPrepend(pushes: readonly ReceivedPush[]): void {
    this.held = [...pushes, ...withoutHanded(this.held, pushes)];
    this.heldBytes = this.held.reduce((sum, push) => sum + push.payload.length, 0);
  }

  private unsubscribe(): void {
    for (const subscription of this.subscriptions) subscription.unsubscribe();
    this.subscriptions = [];
  }

  private refuse({ subject, payload, reply }: ReceivedPush): void {
    this.refused++;
    const address = parseShardPush(subject);
    if (address === undefined || reply === undefined) return;
    if (!isReplySubject(address.appToken, reply)) return;
    const replyTo = { subject: reply, encoding: encodingOf(payload) };
    answerRefused(this.node.bus, replyTo, "NOT_READY");
  }

  override inspect(): Record<string, unknown> {
    return {
      isOpen: this.group !== undefined,
      subscriptions: this.subscriptions.length,
      held: this.held.length,
      refused: this.refused,
    };
  }
}

function shardIn(subject: string): number {
  return Number.parseInt(subject.slice("shard.".length), 10);
}

function toShard({ subject, payload, reply }: ReceivedPush) {
  return { kind: "ReceivePush", subject, payload, reply } as const;
}
