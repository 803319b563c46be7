/**
 * What the commands need from a running Belfry. src/main/nats-fleet.ts makes it
 * real over NATS; the tests have one in memory.
 *
 * Every method ends: in a value, in a refusal where its type has one, or in a thrown
 * `Fault` when nobody answered in time, which the command line turns into exit code 3.
 */
import type { Result } from "../base/result.js";
import type { KeyValue } from "../ports/key-value.js";
import type { ErrorAnswer } from "../protocol/errors.js";
import type { InboxAnswer } from "../protocol/inbox-answer.js";
import type { InboxRequest } from "../protocol/inbox-request.js";
import type { DeskAnswer, DeskRequest } from "../protocol/operator-desk.js";
import type { PushAnswer } from "../protocol/push-answer.js";

export interface Fleet {
  /** Where the bus is, for people to read. */
  readonly natsUrl: string;
  /** The bucket `placement` as it stands now. */
  placement(): Promise<Placement>;
  ask(node: NodeName, request: DeskRequest): Promise<DeskAnswer | ErrorAnswer>;
  /** `app` and `uid` by name, not encoded; `payload` is a push command. */
  push(app: string, uid: string, payload: Uint8Array): Promise<PushAnswer>;
  /** `app` and `uid` by name, not encoded. */
  inbox(app: string, uid: string, request: InboxRequest): Promise<InboxAnswer>;
  /** The bucket `apps`. */
  apps(): Promise<KeyValue>;
  /** Gives a registered app its user on the bus, or says how; throws no Fault. */
  addNatsUser(app: string): Promise<NatsUserGrant>;
  close(): Promise<void>;
}

export interface NodeName {
  readonly nodeId: string;
  readonly incarnation: string;
}

/** A node that has its record in the placement, whether it answers or not. */
export interface FleetNode extends NodeName {
  readonly idc: string;
  readonly pid: number;
  readonly version: string;
  readonly leaseMs: number;
  readonly startedAtMs: number;
  readonly edgeUrl: string;
  /** Why it should serve no shards for now, by its own probes; absent while it is well. */
  readonly unwell?: string;
  /** Groups that it was given and could not serve; absent where there are none. */
  readonly cannotServe?: readonly number[];
}

export interface Leader extends NodeName {
  readonly epoch: number;
  readonly leaseMs: number;
}

export interface ShardPlace {
  readonly shard: number;
  readonly state: string;
  /** The one it was last given under; 0 when it never was. */
  readonly epoch: number;
  readonly owner: NodeName | undefined;
  /** Who hands over, while it moves to `owner`. */
  readonly from?: NodeName;
}

export interface Placement {
  readonly nodes: readonly FleetNode[];
  readonly leader: Leader | undefined;
  /** All 4096, in order. */
  readonly shards: readonly ShardPlace[];
  /** Ids of nodes in drain, also of such as are not there now. */
  readonly draining: readonly string[];
  /** Keys of leader and nodes whose record is broken, or a newer version's. */
  readonly unreadable?: readonly string[];
}

export type NatsUserGrant =
  | {
      readonly state: "added";
      readonly user: string;
      readonly password: string;
      /** What the app's NATS client must be set to. */
      readonly inboxPrefix: string;
    }
  /** The server is not ours: what its operator has to add. */
  | { readonly state: "yours-to-add"; readonly block: string }
  | { readonly state: "failed"; readonly message: string };

export interface FleetSettings {
  readonly natsUrl?: string;
  readonly user?: string;
  readonly passwordFile?: string;
  /** How long each question may take. */
  readonly timeoutMs: number;
}

/**
 * Refuses UNAUTHORIZED when the server does not take these credentials and USAGE
 * when the settings make no sense; throws Fault when no server is there.
 */
export type OpenFleet = (
  settings: FleetSettings,
) => Promise<Result<Fleet, "UNAUTHORIZED" | "USAGE">>;

/** `<nodeId>.<incarnation>`, what the addresses of a node's actors begin with. */
export function fullName({ nodeId, incarnation }: NodeName): string {
  return `${nodeId}.${incarnation}`;
}
