/**
 * What the bus brings for the shards of one group: passed on while the group serves,
 * held while it does not (it opens, restarts, or moves).
 *
 *   away ──Arrive──▶ holding ──Open──▶ open
 *                       ▲ └──Leave──▶ away, its pushes handed out
 *                       └────Hold──────┘   (Freeze follows the last push into the group)
 *
 * Invariant: pushes are passed on in the order they came; those that never will be
 * are refused as retryable. But once its incarnation is over it says nothing: another
 * owner may have them as well.
 */
import { unreachable } from "../src/base/assert.js";
import { Fault } from "../src/base/result.js";
import type { ErrorCode } from "../src/protocol/errors.js";
import type { ReceivedPush } from "../src/protocol/messages.js";
import type { Shard } from "../src/protocol/shards.js";
import { shardWildcard } from "../src/protocol/subjects.js";
import { Actor } from "../src/runtime/actor.js";
import type { Ref } from "../src/runtime/cell.js";
import type { Asker } from "../src/runtime/envelope.js";
import type { ActorKind } from "../src/runtime/kind.js";
import type { BusMessage, BusSubscription } from "../src/runtime/ports.js";
import type { Admission, GroupState } from "./admission.js";
import type { Freeze } from "./freeze.js";
import { Twins } from "./handed-over.js";
import { mayServe } from "./may-serve.js";
import type { NodeContext } from "./node-context.js";
import { refusePush } from "./push-answering.js";
import type { ReceivePush } from "./shard.js";
import type { ForShard } from "./shard-group.js";

/** Subscribe, and hold; if asked, answered when the server has it. */
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

/** What is held until now came to this node alone: nobody else can have subscribed. */
export interface MarkAlone {
  readonly kind: "MarkAlone";
}

/** Asked: unsubscribe; answered with what is held once nothing more can come. */
export interface Leave {
  readonly kind: "Leave";
}

export interface HandedOut {
  readonly pushes: readonly ReceivedPush[];
  /** So many of them, from the first, came to this node alone. */
  readonly alone: number;
}

/** The node serves these shards no more: refuse what is held, and stop. */
export interface Retire {
  readonly kind: "Retire";
}

/** To itself, behind what the server still sent before it unsubscribed. */
interface HandOut {
  readonly kind: "HandOut";
  readonly from: Asker | undefined;
}

/** To itself: in a cluster of servers a twin may have come by a longer way, until now. */
interface TwinsTick {
  readonly kind: "TwinsTick";
  readonly twins: Twins;
}

/** To itself, behind all that the server had sent by then. */
interface TwinsCame {
  readonly kind: "TwinsCame";
  readonly twins: Twins;
}

/** The old owner's pushes go first; those that both received count once. */
export interface Prepend extends HandedOut {
  readonly kind: "Prepend";
}

export type IntakeMessage =
  | ReceivePush
  | Arrive
  | Open
  | Hold
  | MarkAlone
  | Leave
  | HandOut
  | Prepend
  | TwinsTick
  | TwinsCame
  | Retire;

const intakeKind: ActorKind = {
  name: "push-intake",
  mailbox: { max: 131_072, onFull: "reject" },
  // The host makes another one, and tells it what it has to know.
  restart: "temporary",
  quantum: 1_024,
};

export class PushIntake extends Actor<IntakeMessage> {
  private readonly state: GroupState;
  private subscriptions: BusSubscription[] = [];
  private held: ReceivedPush[] = [];
  private heldBytes = 0;
  private group: Ref | undefined = undefined;
  private alone = 0;
  /** Handed over, and not seen here so far. */
  private awaited: Twins[] = [];
  private refused = 0;
  private discarded = 0;

  constructor(
    private readonly node: NodeContext,
    private readonly incarnation: string,
    private readonly shards: readonly Shard[],
    private readonly admission: Admission,
    group: number,
  ) {
    super();
    this.state = admission.groupState(group);
  }

  get kind(): ActorKind {
    return intakeKind;
  }

  protected override stopping(): void {
    this.unsubscribe();
    for (const push of this.held) this.refuse(push, "NOT_READY");
  }

  receive(message: IntakeMessage, from: Asker | undefined): void | Promise<void> {
    switch (message.kind) {
      case "ReceivePush":
        this.onPush(message);
        return;
      case "Arrive":
        return this.onArrive(from);
      case "Open":
        this.onOpen(message.group);
        return;
      case "Hold":
        this.onHold();
        return;
      case "MarkAlone":
        this.alone = this.held.length;
        return;
      case "Leave":
        return this.onLeave(from);
      case "HandOut":
        this.onHandOut(message.from);
        return;
      case "Prepend":
        this.onPrepend(message);
        return;
      case "TwinsTick":
        this.onTwinsTick(message.twins);
        return;
      case "TwinsCame":
        this.awaited = this.awaited.filter((twins) => twins !== message.twins);
        return;
      case "Retire":
        this.stopSelf();
        return;
      default:
        return unreachable(message);
    }
  }

  private onPush({ push, sinceMs }: ReceivePush): void {
    if (this.awaited.length > 0 && this.awaited.some((twins) => twins.take(push))) return;
    this.pass(push, sinceMs);
  }

  private pass(push: ReceivedPush, sinceMs: number): void {
    if (!mayServe(this.node, this.incarnation)) {
      this.discarded++;
      return;
    }
    const { circuit, isServing } = this.state;
    if (circuit.isOpen && !isServing) {
      // Its store fails each time the group begins again: nobody knows when it will not.
      this.refuse(push, "STORE_UNAVAILABLE");
      return;
    }
    if (this.group !== undefined) {
      this.passTo(this.group, push, sinceMs);
      return;
    }
    const { heldPushesMax, heldBytesMax } = this.node.limits;
    if (this.held.length >= heldPushesMax || this.heldBytes >= heldBytesMax) {
      this.refuse(push, "NOT_READY");
      return;
    }
    this.held.push(push);
    this.heldBytes += push.payload.length;
  }

  private passTo(group: Ref, push: ReceivedPush, sinceMs: number): void {
    const request = this.admission.open(push, this.incarnation, sinceMs);
    if (request === false) {
      this.refuse(push, "OVERLOADED");
      return;
    }
    const message: ReceivePush = { kind: "ReceivePush", push, sinceMs, request };
    const shard = shardIn(push.subject);
    this.tell(group, { kind: "ForShard", shard, message } satisfies ForShard);
  }

  private async onArrive(from: Asker | undefined): Promise<void> {
    const { bus, clock } = this.node;
    if (this.subscriptions.length === 0) {
      const onMessage = ({ subject, payload, reply }: BusMessage) => {
        const push = reply === undefined ? { subject, payload } : { subject, payload, reply };
        const received: ReceivePush = { kind: "ReceivePush", push, sinceMs: clock.monotonicMs() };
        if (!this.tellSelf(received)) this.refuse(push, "OVERLOADED");
      };
      this.subscriptions = this.shards.map((shard) =>
        bus.subscribe(shardWildcard(shard), onMessage),
      );
    }
    if (from === undefined) return;
    if (await this.isFlushed()) from.answer(true);
    else from.refuse("DISCONNECTED", "the server may not know the subscriptions");
  }

  private async isFlushed(): Promise<boolean> {
    try {
      await this.node.bus.flush();
      return true;
    } catch (cause) {
      if (!(cause instanceof Fault)) throw cause;
      return false;
    }
  }

  private onHold(): void {
    if (this.group === undefined) return;
    this.tell(this.group, { kind: "Freeze" } satisfies Freeze);
    this.group = undefined;
    this.alone = 0;
  }

  private onOpen(group: Ref): void {
    this.group = group;
    // How long they were held is no sign of load, and no fault of theirs.
    const nowMs = this.node.clock.monotonicMs();
    for (const push of this.takeHeld()) this.pass(push, nowMs);
  }

  private async onLeave(from: Asker | undefined): Promise<void> {
    this.group = undefined;
    // When the server answers, all has arrived that it sent while this node was alone; it
    // waits in the mailbox. The client drops what comes after it has unsubscribed.
    await this.isFlushed();
    this.unsubscribe();
    this.tellSelf({ kind: "HandOut", from });
  }

  private onHandOut(from: Asker | undefined): void {
    const { alone } = this;
    this.alone = 0;
    from?.answer({ pushes: this.takeHeld(), alone } satisfies HandedOut);
  }

  private onPrepend({ pushes, alone }: Prepend): void {
    const twins = new Twins(pushes.slice(alone));
    const own = this.takeHeld().filter((push) => !twins.take(push));
    this.held = [...pushes, ...own];
    this.heldBytes = this.held.reduce((sum, push) => sum + push.payload.length, 0);
    if (!twins.isEmpty) {
      this.awaited.push(twins);
      this.timer(this.node.limits.moveOverlapMs, { kind: "TwinsTick", twins });
    }
    if (this.group !== undefined) this.onOpen(this.group);
  }

  /** They are at the server by now; when it answers, they have come from there, too. */
  private onTwinsTick(twins: Twins): void {
    void this.isFlushed().then(() => void this.tellSelf({ kind: "TwinsCame", twins }));
  }

  private takeHeld(): ReceivedPush[] {
    const { held } = this;
    this.held = [];
    this.heldBytes = 0;
    return held;
  }

  private unsubscribe(): void {
    for (const subscription of this.subscriptions) subscription.unsubscribe();
    this.subscriptions = [];
  }

  private refuse(push: ReceivedPush, code: ErrorCode): void {
    if (!mayServe(this.node, this.incarnation)) {
      this.discarded++;
      return;
    }
    this.refused++;
    refusePush(this.node.bus, push, code);
  }

  override inspect(): Record<string, unknown> {
    return {
      isOpen: this.group !== undefined,
      subscriptions: this.subscriptions.length,
      held: this.held.length,
      refused: this.refused,
      discarded: this.discarded,
    };
  }
}

function shardIn(subject: string): Shard {
  return Number.parseInt(subject.slice("shard.".length), 10) as Shard;
}
