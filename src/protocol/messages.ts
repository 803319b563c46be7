/**
 * What the actors say to each other: one closed union per receiver. Commands are
 * imperative, facts are in the past tense, an actor's own timers end in `Tick`.
 *
 * Those marked (wire) cross nodes; fields are only ever added to them. Each that
 * concerns a shard carries the epoch its sender believes in.
 */

import type { ClientAppState } from "./client-surroundings.js";
import type { Directive } from "./directive.js";
import type { ErrorCode } from "./errors.js";
import type { Start } from "./frames.js";
import type { InboxRequest } from "./inbox-request.js";
import type { MsgId } from "./msg-id.js";
import type { PlacementRequest } from "./operator-desk.js";
import type { Position } from "./position.js";
import type { PushAnswer } from "./push-answer.js";
import type { Encoding, PushCommand } from "./push-command.js";
import type { SessionKey, Shard } from "./shards.js";

/** A connection as others name it: the edge actor that holds it, and its number there. */
export interface ConnectionRef {
  /** Address of the edge actor. */
  readonly edge: string;
  readonly connection: number;
}

// ---- shards: what arrives for the shards of a node ----

/** (wire) A message for one session, to whichever node owns its shard. */
export interface ToSession {
  readonly kind: "ToSession";
  readonly shard: Shard;
  readonly epoch: number;
  readonly key: SessionKey;
  readonly message: FromEdge;
}

/** The table or the set of live nodes changed; read them from the node's view. */
export interface PlacementChanged {
  readonly kind: "PlacementChanged";
}

/** To membership: this node is about to stop, and its clients are to go before it does. */
export interface LeaveEdge {
  readonly kind: "LeaveEdge";
}

/** To membership: what this node served under former incarnations is closed and let go. */
export interface ShardsReleased {
  readonly kind: "ShardsReleased";
  /** That it has now. */
  readonly incarnation: string;
}

/**
 * (wire, may be asked) An owner asks an edge to attach its connections again: of these
 * shards, of one session, or one alone. Answered at once; they come at the edge's pace.
 */
export interface AttachAgain {
  readonly kind: "AttachAgain";
  readonly shards: readonly Shard[];
  readonly key?: SessionKey;
  readonly connection?: number;
}

// ---- session ----

/** Where the answer to a push goes: onto the bus, or to whom in this node it came from. */
export type ReplyTo = BusReply | NodeReply;

export interface BusReply {
  /** Empty where no answer is wanted. */
  readonly subject: string;
  readonly encoding: Encoding;
  /** Called by who is about to answer; false when it was answered before. */
  claim?(code: ErrorCode | undefined): boolean;
}

export interface NodeReply {
  answered(answer: PushAnswer): void;
  claim?(code: ErrorCode | undefined): boolean;
}

/** Which message of a lane a push was. */
export interface LaneOrigin {
  readonly lane: string;
  readonly sequence: number;
  readonly storedAtMs: number;
}

export interface AcceptPush {
  readonly kind: "AcceptPush";
  readonly command: PushCommand;
  /** Absent, or with an empty subject, for a plain publish. */
  readonly reply: ReplyTo | undefined;
  readonly origin?: LaneOrigin;
}

/** A service asks something of the inbox; answered where a reply is wanted. */
export interface ServeInbox {
  readonly kind: "ServeInbox";
  readonly request: InboxRequest;
  readonly reply: ReplyTo | undefined;
}

/** (wire) A connection of a device wants to be served. */
export interface Attach extends ConnectionRef {
  readonly kind: "Attach";
  readonly device: string;
  readonly platform: string;
  /** The device's connect counter: the highest wins. */
  readonly connect: number;
  readonly start: Start;
  /** What the client's app took, by its own word; counts as an ack. */
  readonly taken?: Position;
  /** What this very connection was already sent by an earlier owner. */
  readonly sent?: Position;
  /** Whether somebody looks at the client's app; absent where it, or the edge, does not say. */
  readonly app?: ClientAppState;
  /** It was served by this very owner, and is deaf to it until it is answered again. */
  readonly isServed?: true;
}

/** (wire) Somebody looks at the app now, or nobody does any more. */
export interface AppStateChanged extends ConnectionRef {
  readonly kind: "AppStateChanged";
  readonly app: ClientAppState;
}

/** (wire) */
export interface Detach extends ConnectionRef {
  readonly kind: "Detach";
}

/** (wire) Cumulative: everything up to `position` was taken by the app. */
export interface Acked extends ConnectionRef {
  readonly kind: "Acked";
  readonly position: Position;
}

/** (wire) Send again what follows `position`. */
export interface Resend extends ConnectionRef {
  readonly kind: "Resend";
  readonly position: Position;
}

/** (wire) A person opened this message on the connection's device. */
export interface Opened extends ConnectionRef {
  readonly kind: "Opened";
  /** Its attach may not have come yet, or may have been lost. */
  readonly device: string;
  readonly id: MsgId;
}

export type FromEdge = Attach | Detach | Acked | Resend | AppStateChanged | Opened;

/** An edge and all its connections are gone (its address). */
export interface EdgeGone {
  readonly kind: "EdgeGone";
  readonly edge: string;
}

// ---- edge and connection ----

/** (wire) The session serves this connection; `base` is what the first `prev` will name. */
export interface Attached {
  readonly kind: "Attached";
  readonly connection: number;
  readonly key: SessionKey;
  readonly epoch: number;
  readonly base: Position;
}

/** (wire) Stored messages in order; each one's prev is the seq before it, the first's is `prev`. */
export interface Deliver {
  readonly kind: "Deliver";
  readonly connection: number;
  readonly key: SessionKey;
  readonly epoch: number;
  readonly generation: number;
  readonly prev: number;
  readonly seqs: readonly number[];
  readonly records: readonly Uint8Array[];
}

/** (wire) An at-most-once message. */
export interface DeliverPassing {
  readonly kind: "DeliverPassing";
  readonly connection: number;
  /** Nodes that knew no better leave it out. */
  readonly epoch?: number;
  readonly record: Uint8Array;
}

/** (wire) These messages were taken back: what the app was shown of them it should remove. */
export interface Recalled {
  readonly kind: "Recalled";
  readonly connection: number;
  readonly epoch: number;
  readonly ids: readonly MsgId[];
}

/** (wire) Close this connection; the name is one of closeCodes. */
export interface CloseConnection {
  readonly kind: "CloseConnection";
  readonly connection: number;
  readonly close: string;
}

/** (wire, may be asked) What the client is to do; answered with whether it was told. */
export interface DirectConnection {
  readonly kind: "DirectConnection";
  readonly connection: number;
  readonly key: SessionKey;
  readonly directive: Directive;
}

/** (wire) The node does not own that shard at that epoch; `epoch` is what it knows. */
export interface WrongOwner {
  readonly kind: "WrongOwner";
  readonly connection: number;
  readonly shard: Shard;
  readonly epoch: number;
}

export type ToEdge =
  | Attached
  | Deliver
  | DeliverPassing
  | Recalled
  | CloseConnection
  | DirectConnection
  | WrongOwner
  | AttachAgain;

// ---- a group of shards on the move ----

/** A push as it came from the bus. */
export interface ReceivedPush {
  readonly subject: string;
  readonly payload: Uint8Array;
  readonly reply?: string;
}

/** (wire, asked) The old owner serves the group no more; answered once the new one subscribes. */
export interface GroupFrozen {
  readonly kind: "GroupFrozen";
  readonly epoch: number;
}

/** (wire, asked) What the old owner held, in chunks from 0; each is answered when it is taken. */
export interface TakeOver {
  readonly kind: "TakeOver";
  readonly epoch: number;
  readonly chunk: number;
  readonly isLast: boolean;
  readonly pushes: readonly ReceivedPush[];
  /** So many of all that are handed over came before the new owner can have subscribed. */
  readonly alone: number;
  /** How long each of `pushes` was held so far; an earlier release does not say. */
  readonly waitedMs?: readonly number[];
}

// ---- placement ----

/** (wire) The new owner of a moving group serves it. */
export interface MoveDone {
  readonly kind: "MoveDone";
  readonly group: number;
  readonly epoch: number;
}

/** (wire) The store's fence stands at `epoch`, above what the master gave this owner. */
export interface FenceReported {
  readonly kind: "FenceReported";
  readonly group: number;
  readonly epoch: number;
  readonly nodeId: string;
  readonly incarnation: string;
}

export interface GroupLoad {
  readonly group: number;
  /** Messages, smoothed over some ten seconds. */
  readonly perSecond: number;
  readonly sessions: number;
  /** For how long it has been measured. */
  readonly ageMs: number;
}

/** (wire) What the groups of a node have to do, about once a second. */
export interface LoadReported {
  readonly kind: "LoadReported";
  readonly nodeId: string;
  readonly incarnation: string;
  readonly groups: readonly GroupLoad[];
}

/** (asked) An operator's question or order, from the desk of the same node. */
export interface OperatePlacement {
  readonly kind: "OperatePlacement";
  readonly request: PlacementRequest;
}

export type ToPlacement = MoveDone | FenceReported | LoadReported | OperatePlacement;

// ---- health ----

/** Asked of a group: answered at once with a `GroupProof`, and its store is tried again. */
export interface ProbeGroup {
  readonly kind: "ProbeGroup";
}

export interface GroupProof {
  /** When a write last went all the way through to the store and back, monotonic. */
  readonly provenMs: number;
  /** Why the last one did not. */
  readonly fault?: string;
}

/** Asked of a shard: answered with `true`. */
export interface ProbeShard {
  readonly kind: "ProbeShard";
}

/** What a node thinks of itself. */
export interface NodeVerdict {
  /** Undefined while it is well. */
  readonly unwell: string | undefined;
  /** Its last probe was bad: not unwell yet, and nobody to be given more. */
  readonly isInDoubt: boolean;
  /** Its event loop is why: then it should not lead either. */
  readonly isLoopLate: boolean;
  /** Groups that it was given and could not serve; a few at most. */
  readonly cannotServe: readonly number[];
}

export interface HealthJudged {
  readonly kind: "HealthJudged";
  readonly verdict: NodeVerdict;
}
