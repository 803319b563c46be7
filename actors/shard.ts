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
  LaneOrigin,
  NodeReply,
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
import type { AppAccount } from "./app-account.js";
import { answerWith } from "./forwarded-ask.js";
import type { Freeze, ShardFrozen } from "./freeze.js";
import { mayServe } from "./may-serve.js";
import { nodeNameOf } from "./placement-view.js";
import { answerRefused } from "./push-answering.js";
import type { PushRequest } from "./push-request.js";
import { type DueTick, Session, type ViewSession } from "./session.js";
import type { DirectSession } from "./session-directives.js";
import type { ShardContext } from "./shard-context.js";

export interface ReceivePush {
  readonly kind: "ReceivePush";
  readonly push: ReceivedPush;
  /** When this node took it up, monotonic. */
  readonly sinceMs: number;
  /** Where an answer is wanted, once a group is to have it. */
  readonly request?: PushRequest | undefined;
  /** Of one that came by a lane. */
  readonly lane?: { readonly origin: LaneOrigin; readonly reply: NodeReply };
}

/** From the host: an edge's message for one session. */
export interface ForSession {
  readonly kind: "ForSession";
  readonly key: SessionKey;
  readonly message: FromEdge | DueTick;
}

export type ShardMessage =
  | ReceivePush
  | ForSession
  | EdgeGone
  | ViewSession
  | DirectSession
  | ProbeShard
  | Freeze;

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
        this.onReceivePush(message);
        return;
      case "ForSession":
        this.tellSession(message.key, message.message);
        return;
      case "EdgeGone":
        for (const key of this.childKeys()) this.tellChild(key, message);
        return;
      case "ViewSession":
      case "DirectSession":
        this.askSession(message, from);
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

  private onReceivePush({ push, request, sinceMs, lane }: ReceivePush): void {
    const { node, incarnation, gate } = this.context;
    // Nobody waits any more for one that was answered at its deadline.
    if (!mayServe(node, incarnation) || request?.isAnswered) return;
    const address = parseShardPush(push.subject);
    if (address === undefined) {
      this.refuse(lane?.reply ?? request, "UNSUPPORTED");
      return;
    }
    const misaddressed = this.refusalOf(address);
    if (misaddressed !== undefined) {
      this.refuse(lane?.reply ?? request, misaddressed);
      return;
    }
    const account = gate.admission.account(address.appToken);
    const reply = this.replyFor(lane, request, account);
    const key = sessionKey(address.appToken, address.uidToken);
    const limited = gate.limit(address.verb, key, account);
    if (limited !== undefined) {
      this.refuse(reply, limited, undefined, gate.retryAfterMs);
      return;
    }
    const { payload } = push;
    const decoded =
      address.verb === "push"
        ? acceptPush(payload, reply, lane?.origin)
        : serveInbox(payload, reply);
    if (!decoded.ok) {
      this.refuse(reply, decoded.code, decoded.message);
      return;
    }
    const { value } = decoded;
    if (value.kind === "AcceptPush") {
      const shed = gate.shed(value, account, sinceMs);
      if (shed !== undefined) {
        this.refuse(reply, shed, undefined, gate.retryAfterMs);
        return;
      }
    }
    if (request !== undefined) gate.enter(request);
    if (!this.tellSession(key, value)) this.refuse(reply, "OVERLOADED");
  }

  /** Counts for the app what is answered to it, whoever is told. */
  private replyFor(
    lane: ReceivePush["lane"],
    request: PushRequest | undefined,
    account: AppAccount,
  ): ReplyTo {
    if (lane !== undefined) {
      const claim = (code: ErrorCode | undefined) => {
        account.note(code);
        return true;
      };
      return { answered: lane.reply.answered, claim };
    }
    const reply = request ?? account.plain;
    reply.account = account;
    return reply;
  }

  private refusalOf({ appToken, uidToken }: ShardPush): ErrorCode | undefined {
    const uid = decodeToken(uidToken);
    if (uid === undefined || uid === "" || uidToken.length > uidTokenBytesMax) return "BAD_UID";
    if (shardOf(appToken, uidToken) !== this.context.shard) return "WRONG_SHARD";
    const app = decodeToken(appToken);
    if (app === undefined || this.context.node.apps.find(app) === undefined) return "UNKNOWN_APP";
    return undefined;
  }

  private refuse(
    reply: ReplyTo | undefined,
    code: ErrorCode,
    message?: string,
    retryAfterMs?: number,
  ): void {
    this.refusedPushes++;
    answerRefused(this.context.node.bus, reply, code, message, retryAfterMs);
  }

  private tellSession(key: SessionKey, message: unknown): boolean {
    if (!this.hasChild(key)) {
      if (this.isFreezing) return false;
      this.spawn(key);
    }
    return this.tellChild(key, message);
  }

  private askSession(message: ViewSession | DirectSession, from: Asker | undefined): void {
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
  origin: LaneOrigin | undefined,
): Result<AcceptPush, ErrorCode> {
  const command = decodePushCommand(payload);
  if (!command.ok) return command;
  const accept = { kind: "AcceptPush", command: command.value, reply } as const;
  return accepted(origin === undefined ? accept : { ...accept, origin });
}

function serveInbox(
  payload: Uint8Array,
  reply: ReplyTo | undefined,
): Result<ServeInbox, ErrorCode> {
  const request = decodeInboxRequest(payload);
  return request.ok ? accepted({ kind: "ServeInbox", request: request.value, reply }) : request;
}
