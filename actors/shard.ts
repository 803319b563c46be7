/**
 * One of the 4096 shards on the node that owns it: takes what services push to its
 * users, checks it, and hands it to the user's session.
 *
 * Its epoch was fenced before it was made; its pushes come by way of the group's intake.
 */
import { unreachable } from "../src/base/assert.js";
import { accepted, type Result } from "../src/base/result.js";
import type { ErrorCode } from "../src/protocol/errors.js";
import { decodeInboxRequest } from "../src/protocol/inbox-request.js";
import type {
  AcceptPush,
  AttachAgain,
  EdgeGone,
  FromEdge,
  ProbeShard,
  ReceivedPush,
  ReplyTo,
  ServeInbox,
} from "../src/protocol/messages.js";
import { decodePushCommand } from "../src/protocol/push-command.js";
import { type SessionKey, sessionKey, shardOf } from "../src/protocol/shards.js";
import { parseShardPush, type ShardPush } from "../src/protocol/subjects.js";
import { decodeToken, uidTokenBytesMax } from "../src/protocol/tokens.js";
import { Actor } from "../src/runtime/actor.js";
import type { ActorKey } from "../src/runtime/address.js";
import { type Address, addressOn } from "../src/runtime/address.js";
import type { Asker, StopReason } from "../src/runtime/envelope.js";
import type { ActorKind } from "../src/runtime/kind.js";
import { answerWith } from "./forwarded-ask.js";
import type { Freeze, ShardFrozen } from "./freeze.js";
import { mayServe } from "./may-serve.js";
import { nodeNameOf } from "./placement-view.js";
import { answerRefused, replyOf } from "./push-answering.js";
import { type DueTick, Session, type ViewSession } from "./session.js";
import type { ShardContext } from "./shard-context.js";

export interface ReceivePush {
  readonly kind: "ReceivePush";
  readonly push: ReceivedPush;
}

/** From the host: an edge's message for one session. */
export interface ForSession {
  readonly kind: "ForSession";
  readonly key: SessionKey;
  readonly message: FromEdge | DueTick;
}

export type ShardMessage = ReceivePush | ForSession | EdgeGone | ViewSession | ProbeShard | Freeze;

const shardKind: ActorKind = {
  name: "shard",
  mailbox: { max: 4_096, onFull: "reject" },
  restart: "permanent",
  intensity: { restarts: 20, withinMs: 10_000 },
};

export class Shard extends Actor<ShardMessage> {
  private isFreezing = false;
  private refusedPushes = 0;

  constructor(private readonly context: ShardContext) {
    super();
  }

  get kind(): ActorKind {
    return shardKind;
  }

  /** After a crash its sessions are gone with it: the edges attach their connections again. */
  protected override stopping(reason: StopReason): void {
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
        this.onReceivePush(message.push);
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
      case "ProbeShard":
        from?.answer(true);
        return;
      case "Freeze":
        this.isFreezing = true;
        for (const key of this.childKeys()) this.tellChild(key, message);
        this.reportFrozen();
        return;
      default:
        unreachable(message);
    }
  }

  protected override onChildStopped(): void {
    this.reportFrozen();
  }

  private reportFrozen(): void {
    if (!this.isFreezing || this.childCount > 0) return;
    const { node, shard } = this.context;
    const group = addressOn(nodeNameOf(node), `shards/${node.store.groupOf(shard)}`);
    this.tell(group, { kind: "ShardFrozen", shard } satisfies ShardFrozen);
  }

  private onReceivePush(push: ReceivedPush): void {
    const { node, incarnation } = this.context;
    if (!mayServe(node, incarnation)) return;
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
    const decoded =
      address.verb === "push" ? acceptPush(payload, replyTo) : serveInbox(payload, replyTo);
    if (!decoded.ok) {
      this.refuse(replyTo, decoded.code, decoded.message);
      return;
    }
    const key = sessionKey(address.appToken, address.uidToken);
    if (!this.tellSession(key, decoded.value)) this.refuse(replyTo, "OVERLOADED");
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
    if (!this.hasChild(key)) {
      if (this.isFreezing) return false;
      this.spawn(key);
    }
    return this.tellChild(key, message);
  }

  private onViewSession(message: ViewSession, from: Asker | undefined): void {
    if (from === undefined) return;
    if (!this.hasChild(message.key)) {
      if (this.isFreezing) {
        from.refuse("NOT_READY", "the shard moves to another node");
        return;
      }
      this.spawn(message.key);
    }
    const session = `${this.address}/${message.key}` as Address;
    const { requestDeadlineMs } = this.context.node.limits;
    void answerWith(from, this.ask(session, message, requestDeadlineMs));
  }

  get sessionCount(): number {
    return this.childCount;
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

function acceptPush(
  payload: Uint8Array,
  reply: ReplyTo | undefined,
): Result<AcceptPush, ErrorCode> {
  const command = decodePushCommand(payload);
  return command.ok ? accepted({ kind: "AcceptPush", command: command.value, reply }) : command;
}

function serveInbox(
  payload: Uint8Array,
  reply: ReplyTo | undefined,
): Result<ServeInbox, ErrorCode> {
  const request = decodeInboxRequest(payload);
  return request.ok ? accepted({ kind: "ServeInbox", request: request.value, reply }) : request;
}
