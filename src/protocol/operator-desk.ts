/**
 * What an operator may ask a node: a JSON map on `node.<id>.<incarnation>.operator`,
 * answered `{ok: true, value}` or an error answer. Unknown kinds are UNSUPPORTED.
 */
import { accepted, type Result, refused } from "../base/result.js";
import { isMap } from "./codec.js";
import { type DirectiveRequest, readDirectiveRequest } from "./directive-request.js";
import {
  type DispatcherRequest,
  dispatcherRequestKinds,
  readDispatcherRequest,
} from "./dispatcher-request.js";
import { isPercent } from "./edge-switch.js";
import type { ErrorAnswer } from "./errors.js";
import { isLaneWeight, isLaneWorkers } from "./lane-record.js";
import { isLaneName } from "./lanes.js";

export type DeskRequest =
  /** The node in one map: counters, edge, shards, membership, placement. */
  | { readonly kind: "status" }
  /** The tree of actors down to `depth`, at most `childLimit` children each. */
  | { readonly kind: "tree"; readonly depth: number; readonly childLimit: number }
  | { readonly kind: "actor"; readonly address: string }
  /** Encoded tokens; the node must own the user's shard. */
  | { readonly kind: "user"; readonly app: string; readonly uid: string }
  | JournalRequest
  /**
   * Copies a group that this node serves into a folder of its machine, where the file
   * `permit` holds the permit. Asked again it tells how far that is.
   */
  | {
      readonly kind: "backup";
      readonly group: number;
      readonly folder: string;
      readonly permit: string;
    }
  /** What one app uses of this node; by name, not token. */
  | { readonly kind: "usage"; readonly app: string }
  | EdgeRequest
  | PlacementRequest
  | LaneRequest
  | DispatcherRequest
  | DirectiveRequest;

/** The share of handshakes that all edges let in; any node answers. */
export interface EdgeRequest {
  readonly kind: "let-in";
  readonly percent: number;
}

/** Of durable lanes; any node answers. */
export type LaneRequest =
  /** Every lane with its settings and figures. */
  | { readonly kind: "lanes" }
  | { readonly kind: "lane-create"; readonly lane: string; readonly app: string }
  | {
      readonly kind: "lane-set";
      readonly lane: string;
      readonly weight?: number;
      readonly workers?: number;
    }
  | { readonly kind: "lane-dead"; readonly lane: string; readonly limit: number }
  /** Dead letters by their numbers, to be published again. */
  | { readonly kind: "lane-replay"; readonly lane: string; readonly numbers: readonly number[] }
  | { readonly kind: "lane-drop"; readonly lane: string; readonly discard: boolean };

export function isLaneRequest(request: DeskRequest): request is LaneRequest {
  return request.kind === "lanes" || request.kind.startsWith("lane-");
}

/** From the delivery journal, which any node can read. Each reads no longer than `deadlineMs`. */
export type JournalRequest =
  /** One message's path, for so long after it was accepted. */
  | {
      readonly kind: "message";
      readonly id: string;
      readonly withinMs: number;
      readonly deadlineMs: number;
    }
  /** What became of the messages that an app (encoded) had accepted within so long. */
  | {
      readonly kind: "reach";
      readonly app: string;
      readonly withinMs: number;
      readonly deadlineMs: number;
    };

/** For the leader of the placement; another node answers NOT_LEADER. */
export type PlacementRequest =
  /** Who leads, the table's nonce, moves, loads, nodes in drain, the last decisions. */
  | { readonly kind: "placement" }
  /** By node id, so that it lasts when the node starts again. Answered with `changed`. */
  | { readonly kind: "drain" | "undrain"; readonly node: string }
  /** Moves that even out the load, under an id to commit them by. */
  | { readonly kind: "rebalance-plan" }
  | { readonly kind: "rebalance-commit"; readonly plan: string };

export interface DeskAnswer {
  readonly ok: true;
  readonly value: unknown;
}

export const treeDepthMax = 8;
export const treeChildrenMax = 1_000;
/** As long as the journal is kept. */
export const journalWithinMsMax = 72 * 3_600_000;
export const journalDeadlineMsMax = 300_000;
const groupMax = 4_095;
/** In one answer. */
export const deadLettersMax = 1_000;
/** In one request. */
export const replaysMax = 100;

export function encodeDesk(message: DeskRequest | DeskAnswer | ErrorAnswer): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(message));
}

export function decodeDeskRequest(
  bytes: Uint8Array,
): Result<DeskRequest, "BAD_ENCODING" | "BAD_COMMAND" | "UNSUPPORTED"> {
  let map: unknown;
  try {
    map = JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    return refused("BAD_ENCODING", "the request is not JSON");
  }
  if (!isMap(map) || typeof map.kind !== "string") {
    return refused("BAD_COMMAND", "a request is a map with a kind");
  }
  if (dispatcherRequestKinds.has(map.kind)) {
    const request = readDispatcherRequest(map);
    return request === undefined ? badField(map.kind) : accepted(request);
  }
  switch (map.kind) {
    case "directive": {
      const request = readDirectiveRequest(map);
      if (request !== undefined) return accepted(request);
      break;
    }
    case "status":
      return accepted({ kind: "status" });
    case "tree":
      if (!isCount(map.depth, treeDepthMax) || !isCount(map.childLimit, treeChildrenMax)) break;
      return accepted({ kind: "tree", depth: map.depth, childLimit: map.childLimit });
    case "actor":
      if (typeof map.address !== "string") break;
      return accepted({ kind: "actor", address: map.address });
    case "user":
      if (typeof map.app !== "string" || typeof map.uid !== "string") break;
      return accepted({ kind: "user", app: map.app, uid: map.uid });
    case "message":
    case "reach": {
      const { kind, withinMs, deadlineMs } = map;
      const name = kind === "message" ? map.id : map.app;
      if (typeof name !== "string" || !isCount(withinMs, journalWithinMsMax)) break;
      if (!isCount(deadlineMs, journalDeadlineMsMax)) break;
      const bounds = { withinMs, deadlineMs };
      return accepted(
        kind === "message" ? { kind, id: name, ...bounds } : { kind, app: name, ...bounds },
      );
    }
    case "backup":
      if (!isCount(map.group, groupMax) || !isName(map.permit) || !isFolder(map.folder)) break;
      return accepted({
        kind: "backup",
        ...{ group: map.group, folder: map.folder, permit: map.permit },
      });
    case "usage":
      if (typeof map.app !== "string" || map.app === "") break;
      return accepted({ kind: "usage", app: map.app });
    case "let-in":
      if (!isPercent(map.percent)) break;
      return accepted({ kind: "let-in", percent: map.percent });
    case "placement":
    case "rebalance-plan":
      return accepted({ kind: map.kind });
    case "drain":
    case "undrain":
      if (!isName(map.node)) break;
      return accepted({ kind: map.kind, node: map.node });
    case "rebalance-commit":
      if (!isName(map.plan)) break;
      return accepted({ kind: map.kind, plan: map.plan });
    case "lanes":
      return accepted({ kind: "lanes" });
    case "lane-create":
    case "lane-set":
    case "lane-dead":
    case "lane-replay":
    case "lane-drop": {
      const request = readLaneRequest(map.kind, map);
      if (request !== undefined) return accepted(request);
      break;
    }
    default:
      return refused("UNSUPPORTED", `unknown request ${map.kind}`);
  }
  return badField(map.kind);
}

function badField(kind: string) {
  return refused("BAD_COMMAND", `a field of ${kind} is missing or out of range`);
}

type NamedLaneKind = Exclude<LaneRequest["kind"], "lanes">;

function readLaneRequest(
  kind: NamedLaneKind,
  map: Readonly<Record<string, unknown>>,
): LaneRequest | undefined {
  const { lane, app, weight, workers, limit, numbers, discard } = map;
  if (typeof lane !== "string" || !isLaneName(lane)) return undefined;
  switch (kind) {
    case "lane-create":
      return typeof app === "string" ? { kind, lane, app } : undefined;
    case "lane-set": {
      if (weight !== undefined && !isLaneWeight(weight)) return undefined;
      if (workers !== undefined && !isLaneWorkers(workers)) return undefined;
      return {
        ...{ kind, lane },
        ...(weight === undefined ? {} : { weight }),
        ...(workers === undefined ? {} : { workers }),
      };
    }
    case "lane-dead":
      return isCount(limit, deadLettersMax) ? { kind, lane, limit } : undefined;
    case "lane-replay": {
      const isList = Array.isArray(numbers) && numbers.length <= replaysMax;
      const isGood = isList && numbers.every((each) => isCount(each, Number.MAX_SAFE_INTEGER));
      return isGood ? { kind, lane, numbers } : undefined;
    }
    case "lane-drop":
      return typeof discard === "boolean" ? { kind, lane, discard } : undefined;
  }
}

/** Of a node or a plan: it goes into messages and the log, so it is short and plain. */
function isName(value: unknown): value is string {
  return typeof value === "string" && /^[A-Za-z0-9_.-]{1,64}$/.test(value);
}

function isFolder(value: unknown): value is string {
  return typeof value === "string" && value.length <= 4_096 && /^(\/|[A-Za-z]:[\\/])/.test(value);
}

function isCount(value: unknown, most: number): value is number {
  return Number.isInteger(value) && (value as number) >= 0 && (value as number) <= most;
}
