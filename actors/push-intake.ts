/**
 * What the bus brings for the shards of one group: passed on while the group serves,
 * held while it does not (it opens, restarts, or moves).
 *
 *   away ──Arrive──▶ holding ──Open──▶ open
 *                       ▲ └──Leave──▶ away, its pushes handed out
 *                       └────Hold──────┘   (Freeze follows the last push into the group)
 *
 * Invariant: pushes are passed on in the order they came; those that never will be
 * are refused as retryable, by their deadline: in a move another owner may have them as well,
 * so that their fate is unknown. But once its incarnation is over it says nothing: another
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
import { type HeldPush, HeldPushes } from "./held-pushes.js";
import { mayServe } from "./may-serve.js";
import type { NodeContext } from "./node-context.js";
import { overdueBefore } from "./open-requests.js";
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
  readonly pushes: readonly HeldPush[];
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

/** To itself: while anything is held it is looked what waits for too long. */
interface HeldTick {
  readonly kind: "HeldTick";
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
  | HeldTick
  | Retire;

const intakeKind: ActorKind = {
  name: "push-intake",
  mailbox: { max: 131_072, onFull: "reject" },
  // The host makes another one, and tells it what it has to know.
  restart: "temporary",
  quantum: 1_024,
};

const heldTickMs = 250;

export class PushIntake extends Actor<IntakeMessage> {
  private readonly state: GroupState;
  private subscriptions: BusSubscription[] = [];
  private readonly held: HeldPushes;
  private isHeldTickArmed = false;
  private group: Ref | undefined = undefined;
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
    this.held = new HeldPushes(admission.held, node.limits);
  }

  get kind(): ActorKind {
    return intakeKind;
  }

  protected override stopping(): void {
    this.unsubscribe();
    for (const { push } of this.held.takeAll()) this.refuse(push, "NOT_READY");
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
        this.held.markAlone();
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
      case "HeldTick":
        this.onHeldTick();
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
    this.pass({ push, sinceMs }, sinceMs);
  }

  /** `loadMs`: from when on its waiting is a sign of load. */
  private pass(held: HeldPush, loadMs: number): void {
    const { push } = held;
    if (!mayServe(this.node, this.incarnation)) {
      this.discarded++;
      return;
    }
    const { circuit, isServing } = this.state;
    if (circuit.isOpen && !isServing) {
      // Its store fails each time the group begins again: nobody knows when it will not.
      this.refuse(push, "STORE_UNAVAILABLE");
    } else if (this.group !== undefined) {
      this.passTo(this.group, held, loadMs);
    } else if (this.held.add(held)) {
      this.armHeldTick();
    } else {
      this.refuse(push, "NOT_READY");
    }
  }

  private passTo(group: Ref, { push, sinceMs }: HeldPush, loadMs: number): void {
    const request = this.admission.open(push, this.incarnation, sinceMs);
    if (request === false) {
      this.refuse(push, "OVERLOADED");
      return;
    }
    const message: ReceivePush = { kind: "ReceivePush", push, sinceMs: loadMs, request };
    const shard = shardIn(push.subject);
    this.tell(group, { kind: "ForShard", shard, message } satisfies ForShard);
  }

  private armHeldTick(): void {
    if (this.isHeldTickArmed) return;
    this.isHeldTickArmed = true;
    this.timer(heldTickMs, { kind: "HeldTick" });
  }

  private onHeldTick(): void {
    this.isHeldTickArmed = false;
    const { limits, clock } = this.node;
    for (const { push } of this.held.takeOverdue(overdueBefore(clock.monotonicMs(), limits))) {
      this.refuse(push, "TIMEOUT");
    }
    if (this.held.count > 0) this.armHeldTick();
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
    this.held.forgetAlone();
  }

  private onOpen(group: Ref): void {
    this.group = group;
    // How long they were held is no sign of load, and no fault of theirs.
    const nowMs = this.node.clock.monotonicMs();
    for (const held of this.held.takeAll()) this.pass(held, nowMs);
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
    const { alone } = this.held;
    this.held.forgetAlone();
    from?.answer({ pushes: this.held.takeAll(), alone } satisfies HandedOut);
  }

  private onPrepend({ pushes, alone }: Prepend): void {
    const twins = new Twins(pushes.slice(alone).map(({ push }) => push));
    const own = this.held.takeAll().filter(({ push }) => !twins.take(push));
    this.held.putFirst([...pushes, ...own]);
    this.armHeldTick();
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
      held: this.held.count,
      refused: this.refused,
      discarded: this.discarded,
    };
  }
}

function shardIn(subject: string): Shard {
  return Number.parseInt(subject.slice("shard.".length), 10) as Shard;
}
