/**
 * One of the 4096 shards on the node that owns it: takes what services push to its
 * users, checks it, and hands it to the user's session.
 *
 * Subscribes `shard.<n>.>` while it lives; its epoch was fenced before it was made.
 */
import { unreachable } from "../src/base/assert.js";
import type { ErrorCode } from "../src/protocol/errors.js";
import type { AttachAgain, EdgeGone, FromEdge, ReplyTo } from "../src/protocol/messages.js";
import { decodePushCommand, encodingOf } from "../src/protocol/push-command.js";
import { type SessionKey, sessionKey, shardOf } from "../src/protocol/shards.js";
import {
  isReplySubject,
  parseShardPush,
  type ShardPush,
  shardWildcard,
} from "../src/protocol/subjects.js";
import { decodeToken, uidTokenBytesMax } from "../src/protocol/tokens.js";
import { Actor } from "../src/runtime/actor.js";
import type { ActorKey } from "../src/runtime/address.js";
import { type Address, addressOn } from "../src/runtime/address.js";
import type { Asker, StopReason } from "../src/runtime/envelope.js";
import type { ActorKind } from "../src/runtime/kind.js";
import type { BusMessage, BusSubscription } from "../src/runtime/ports.js";
import { nodeNameOf } from "./placement-view.js";
import { answerRefused } from "./push-answering.js";
import { type DueTick, Session, type ViewSession } from "./session.js";
import type { ShardContext } from "./shard-context.js";

/** A push as it came from the bus. */
interface ReceivePush {
  readonly kind: "ReceivePush";
  readonly subject: string;
  readonly payload: Uint8Array;
  readonly reply: string | undefined;
}

/** From the host: an edge's message for one session. */
export interface ForSession {
  readonly kind: "ForSession";
  readonly key: SessionKey;
  readonly message: FromEdge | DueTick;
}

export type ShardMessage = ReceivePush | ForSession | EdgeGone | ViewSession;

const shardKind: ActorKind = {
  name: "shard",
  mailbox: { max: 4_096, onFull: "reject" },
  restart: "permanent",
  intensity: { restarts: 20, withinMs: 10_000 },
};

export class Shard extends Actor<ShardMessage> {
  private subscription: BusSubscription | undefined = undefined;
  private refusedPushes = 0;

  constructor(private readonly context: ShardContext) {
    super();
  }

  get kind(): ActorKind {
    return shardKind;
  }

  protected override started(): void {
    const { bus } = this.context.node;
    this.subscription = bus.subscribe(shardWildcard(this.context.shard), (message: BusMessage) => {
      const { subject, payload, reply } = message;
      const push: ReceivePush = { kind: "ReceivePush", subject, payload, reply };
      if (!this.tellSelf(push)) this.refuse(replyOf(push), "OVERLOADED");
    });
  }

  /** After a crash its sessions are gone with it: the edges attach their connections again. */
  protected override stopping(reason: StopReason): void {
    this.subscription?.unsubscribe();
    if (reason === "normal") return;
    for (const node of this.context.node.view.nodes.values()) {
      const again: AttachAgain = { kind: "AttachAgain", shards: [this.context.shard] };
      this.tell(addressOn(nodeNameOf(node), "edge"), again);
    }
  }

  protected override createChild(_key: ActorKey): Actor {
    return new Session(this.context);
  }

  receive(message: ShardMessage, from: Asker | undefined): void {
    switch (message.kind) {
      case "ReceivePush":
        this.onReceivePush(message);
        return;
      case "ForSession":
        this.tellSession(message.key, message.message);
        return;
      case "EdgeGone":
        for (const key of this.childKeys()) this.tellChild(key, message);
        return;
      case "ViewSession":
        this.onViewSession(message, from);
        return;
      default:
        unreachable(message);
    }
  }

  private onReceivePush(push: ReceivePush): void {
    const { subject, payload } = push;
    const replyTo = replyOf(push);
    const address = parseShardPush(subject);
    if (address === undefined) {
      this.refuse(replyTo, "UNSUPPORTED");
      return;
    }
    const misaddressed = this.refusalOf(address);
    if (misaddressed !== undefined) {
      this.refuse(replyTo, misaddressed);
      return;
    }
    const command = decodePushCommand(payload);
    if (!command.ok) {
      this.refuse(replyTo, command.code, command.message);
      return;
    }
    const key = sessionKey(address.appToken, address.uidToken);
    const accept = { kind: "AcceptPush", command: command.value, reply: replyTo } as const;
    if (!this.tellSession(key, accept)) this.refuse(replyTo, "OVERLOADED");
  }

  private refusalOf({ appToken, uidToken }: ShardPush): ErrorCode | undefined {
    const uid = decodeToken(uidToken);
    if (uid === undefined || uid === "" || uidToken.length > uidTokenBytesMax) return "BAD_UID";
    if (shardOf(appToken, uidToken) !== this.context.shard) return "WRONG_SHARD";
    const app = decodeToken(appToken);
    if (app === undefined || this.context.node.apps.find(app) === undefined) return "UNKNOWN_APP";
    return undefined;
  }

  private refuse(reply: ReplyTo | undefined, code: ErrorCode, message?: string): void {
    this.refusedPushes++;
    answerRefused(this.context.node.bus, reply, code, message);
  }

  private tellSession(key: SessionKey, message: unknown): boolean {
    if (!this.hasChild(key)) this.spawn(key);
    return this.tellChild(key, message);
  }

  private onViewSession(message: ViewSession, from: Asker | undefined): void {
    if (from === undefined) return;
    if (!this.hasChild(message.key)) this.spawn(message.key);
    const session = `${this.address}/${message.key}` as Address;
    const { requestDeadlineMs } = this.context.node.limits;
    this.ask(session, message, requestDeadlineMs).then((answer) => {
      if (answer.ok) from.answer(answer.value);
      else from.refuse(answer.code, answer.message);
    });
  }

  override inspect(): Record<string, unknown> {
    return {
      shard: this.context.shard,
      epoch: this.context.epoch,
      sessions: this.childCount,
      refusedPushes: this.refusedPushes,
    };
  }
}

/** Where the answer may go; nowhere when it is not known whose inbox that is. */
function replyOf({ subject, payload, reply }: ReceivePush): ReplyTo | undefined {
  const address = parseShardPush(subject);
  if (reply === undefined || address === undefined) return undefined;
  if (!isReplySubject(address.appToken, reply)) return undefined;
  return { subject: reply, encoding: encodingOf(payload) };
}
