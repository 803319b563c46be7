/**
 * Clients' calls to services, of all connections of an edge: each goes out as one request
 * on `uplink.<app>.<route>.<uid>`, and comes back as one frame.
 *
 *   call ──▶ allowed, room for it ──▶ request, until its deadline ──▶ answer, or a code
 *                                        └─ session gone: nobody is told
 *
 * At most once: a call is never repeated here. It is made by who holds the connection, from
 * nothing that another node could hold as well, so it needs no epoch.
 *
 * Invariant: what is under way is counted until the request has ended, which the bus does
 * by the deadline, also when its session is long gone.
 */
import { Fault } from "../src/base/result.js";
import type { ConnectionId } from "../src/ports/edge-transport.js";
import { type CallCode, callCodes } from "../src/protocol/call-codes.js";
import type { CallFrame } from "../src/protocol/call-frames.js";
import type { CloseName } from "../src/protocol/close-codes.js";
import { answerFrame, encodeFrame } from "../src/protocol/frames.js";
import { appOfKey, type SessionKey, uidOfKey } from "../src/protocol/shards.js";
import { uplinkSubject } from "../src/protocol/subjects.js";
import { decodeToken } from "../src/protocol/tokens.js";
import { decodeUplinkAnswer, encodeUplink, uplinkVersion } from "../src/protocol/uplink-call.js";
import { Counts } from "./counts.js";
import type { NodeContext } from "./node-context.js";
import { nodeNameOf } from "./placement-view.js";
import { RouteLists } from "./route-lists.js";

/** Who calls: a session bound to a connection. */
export interface Caller {
  /** The session's own: its connection's, where it is the first one of it. */
  readonly number: ConnectionId;
  /** Whose socket it uses. */
  readonly connection: ConnectionId;
  /** Its index on the connection. */
  readonly session: number;
  readonly key: SessionKey;
  readonly device: string;
}

/** The edge's way to its sockets. */
export interface CallSurroundings {
  readonly node: Pick<
    NodeContext,
    "bus" | "limits" | "log" | "nodeId" | "incarnation" | "transport"
  >;
  isText(connection: ConnectionId): boolean;
  send(connection: ConnectionId, frame: Uint8Array): void;
  close(connection: ConnectionId, name: CloseName, reason?: string): void;
}

export class UplinkCalls {
  /** Which routes sessions may call, where their tokens say it. */
  readonly routes = new RouteLists();
  /** Numbers of calls under way; of sessions that have any. */
  private readonly waiting = new Map<ConnectionId, Set<number>>();
  private readonly ofUsers = new Counts<SessionKey>();
  private readonly ofApps = new Counts<string>();
  private readonly ended = new Counts<string>();
  private underWay = 0;
  private bytes = 0;

  constructor(private readonly edge: CallSurroundings) {}

  /** Ends in one answer on the connection, if that is still there. */
  start(caller: Caller, call: CallFrame): void {
    const { number, connection, key } = caller;
    const waiting = this.waiting.get(number);
    if (waiting?.has(call.call)) {
      this.edge.close(connection, "BAD_FRAME", "a call's number is under way already");
      return;
    }
    if (!this.routes.allows(number, call.route)) {
      this.refuse(caller, call, "NOT_ALLOWED");
      return;
    }
    // Before it is encoded: who is refused is to cost little.
    if (this.isFull(caller)) {
      this.refuse(caller, call, "OVERLOADED");
      return;
    }
    const payload = this.encode(caller, call);
    const refusal = this.refusalOf(payload);
    if (refusal !== undefined) {
      this.refuse(caller, call, refusal);
      return;
    }
    if (waiting === undefined) this.waiting.set(number, new Set([call.call]));
    else waiting.add(call.call);
    this.count(key, payload.length, 1);
    this.ask(caller, call, payload)
      .catch((error) => this.fail(connection, error))
      .finally(() => this.count(key, payload.length, -1));
  }

  /** The session is gone: what it still waits for is answered to nobody. */
  forget(number: ConnectionId): void {
    this.waiting.delete(number);
    this.routes.forget(number);
  }

  /** `sessions` that wait for an answer, and those with a list of routes (`limited`). */
  inspect(): Record<string, unknown> {
    const { underWay, bytes, waiting, routes, ended } = this;
    const sizes = { underWay, bytes, sessions: waiting.size, limited: routes.size };
    return { ...sizes, ended: ended.toRecord() };
  }

  private isFull({ number, key }: Caller): boolean {
    const { limits } = this.edge.node;
    return (
      (this.waiting.get(number)?.size ?? 0) >= limits.sessionCallsMax ||
      this.ofUsers.of(key) >= limits.userCallsMax ||
      this.ofApps.of(appOfKey(key)) >= limits.appCallsMax ||
      this.underWay >= limits.edgeCallsMax
    );
  }

  private refusalOf({ length }: Uint8Array): CallCode | undefined {
    const { bus, limits } = this.edge.node;
    if (length > bus.payloadMax) return "TOO_LARGE";
    return this.bytes + length > limits.edgeCallBytesMax ? "OVERLOADED" : undefined;
  }

  private encode({ number, key, device }: Caller, call: CallFrame): Uint8Array {
    const { edge } = this;
    const { route, deadlineMs, body } = call;
    const map = {
      v: uplinkVersion,
      id: `${nodeNameOf(edge.node)}.${number}.${call.call}`,
      app: decodeToken(appOfKey(key)) ?? "",
      uid: decodeToken(uidOfKey(key)) ?? "",
      ...{ device, route, deadlineMs, body },
    };
    return encodeUplink(map, edge.isText(number) ? "json" : "msgpack");
  }

  private async ask(caller: Caller, call: CallFrame, payload: Uint8Array): Promise<void> {
    const subject = uplinkSubject(caller.key, call.route);
    let answer: Uint8Array;
    try {
      answer = await this.edge.node.bus.request(subject, payload, call.deadlineMs);
    } catch (fault) {
      if (!(fault instanceof Fault)) throw fault;
      if (this.isStillWanted(caller, call)) this.refuse(caller, call, codeOf(fault));
      return;
    }
    if (this.isStillWanted(caller, call)) this.answer(caller, call, answer);
  }

  /** False when its session is gone. */
  private isStillWanted({ number }: Caller, { call }: CallFrame): boolean {
    const waiting = this.waiting.get(number);
    if (waiting?.delete(call) !== true) return false;
    if (waiting.size === 0) this.waiting.delete(number);
    return true;
  }

  private answer(caller: Caller, call: CallFrame, bytes: Uint8Array): void {
    const { limits, transport } = this.edge.node;
    const { connection, session } = caller;
    // Unread: what is too large for a frame need not be decoded to tell.
    if (bytes.length > limits.callAnswerBytesMax) {
      this.refuse(caller, call, "ANSWER_TOO_LARGE");
      return;
    }
    const answer = decodeUplinkAnswer(bytes);
    if (answer === undefined) {
      this.refuse(caller, call, "BAD_ANSWER");
      return;
    }
    const [code, value] = answer.ok ? [null, answer.value] : [answer.code, answer.message];
    const isText = this.edge.isText(connection);
    const frame = encodeFrame(answerFrame(session, call.call, code, value), isText);
    const room = limits.connectionBufferBytesMax - transport.bufferedBytes(connection);
    if (frame.length > Math.min(limits.callAnswerBytesMax, room)) {
      this.refuse(caller, call, "ANSWER_TOO_LARGE");
      return;
    }
    this.ended.add(answer.ok ? "answered" : "refused", 1);
    this.edge.send(connection, frame);
  }

  private refuse({ connection, session }: Caller, { call }: CallFrame, code: CallCode): void {
    this.ended.add(code, 1);
    const frame = answerFrame(session, call, code, callCodes[code].meaning);
    this.edge.send(connection, encodeFrame(frame, this.edge.isText(connection)));
  }

  private count(key: SessionKey, bytes: number, by: 1 | -1): void {
    this.underWay += by;
    this.bytes += by * bytes;
    this.ofUsers.add(key, by);
    this.ofApps.add(appOfKey(key), by);
  }

  /** As of a connection whose actor failed: it is the client that comes back. */
  private fail(connection: ConnectionId, error: unknown): void {
    this.edge.node.log.error("a call failed", { error: String(error) });
    this.edge.close(connection, "INTERNAL");
  }
}

function codeOf(fault: Fault): CallCode {
  if (fault.code === "NO_RESPONDERS") return "NO_SERVICE";
  if (fault.code === "TIMEOUT") return "TIMEOUT";
  return fault.outcome === "not-done" ? "UNAVAILABLE" : "ANSWER_LOST";
}
