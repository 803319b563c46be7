/**
 * What operators see of the tree, by walking it: nothing is kept for this, and
 * a walk is bounded by depth and by children shown a parent.
 */
import { type ActorKey, numericKey } from "./address.js";
import { addressOf, type Cell, processedOf, STATE_NAMES, stateOf } from "./cell.js";
import { describeError } from "./crash-report.js";

export interface ActorReport {
  readonly key: ActorKey;
  readonly kind: string;
  readonly state: string;
  readonly mailbox: number;
  readonly mailboxMax: number;
  /** By this instance; stays at 1,048,575 once there. */
  readonly processed: number;
  readonly restarts: number;
}

export interface TreeReport extends ActorReport {
  /** All of them, by kind. */
  readonly childCounts: Readonly<Record<string, number>>;
  /** Up to the limit, in the order of their spawning. */
  readonly children: readonly TreeReport[];
}

export interface ActorDetails extends ActorReport {
  readonly address: string;
  readonly childCounts: Readonly<Record<string, number>>;
  readonly timers: number;
  /** What the actor itself has to say. */
  readonly detail: Record<string, unknown>;
}

export function inspectTree(cell: Cell, depth: number, childLimit: number): TreeReport {
  const children: TreeReport[] = [];
  if (depth > 0) {
    for (const child of cell._extras?.children?.values() ?? []) {
      if (children.length >= childLimit) break;
      children.push(inspectTree(child, depth - 1, childLimit));
    }
  }
  return { ...reportOn(cell), childCounts: countByKind(cell), children };
}

export function inspectActor(cell: Cell): ActorDetails {
  let detail: Record<string, unknown>;
  try {
    detail = cell.inspect();
  } catch (error) {
    detail = { inspectFailed: describeError(error).error };
  }
  return {
    ...reportOn(cell),
    address: addressOf(cell),
    childCounts: countByKind(cell),
    timers: cell._extras?.timerCount ?? 0,
    detail,
  };
}

/** The actor at "shards/17" below `root`. */
export function resolvePath(root: Cell, path: string): Cell | undefined {
  let at: Cell = root;
  let start = 0;
  while (start <= path.length) {
    const slash = path.indexOf("/", start);
    const end = slash < 0 ? path.length : slash;
    const next = childBySegment(at, path.slice(start, end));
    if (next === undefined) return undefined;
    at = next;
    start = end + 1;
  }
  return at;
}

function childBySegment(parent: Cell, segment: string): Cell | undefined {
  const children = parent._extras?.children;
  if (children === undefined) return undefined;
  const named = children.get(segment);
  if (named !== undefined) return named;
  const key = numericKey(segment);
  return key === undefined ? undefined : children.get(key);
}

function reportOn(cell: Cell): ActorReport {
  const { kind } = cell;
  return {
    key: cell._key,
    kind: kind.name,
    state: STATE_NAMES[stateOf(cell)] ?? "unknown",
    mailbox: cell._mailbox?.size ?? 0,
    mailboxMax: kind.mailbox.max,
    processed: processedOf(cell),
    restarts: cell._extras?.history?.restarts ?? 0,
  };
}

function countByKind(cell: Cell): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const child of cell._extras?.children?.values() ?? []) {
    counts[child.kind.name] = (counts[child.kind.name] ?? 0) + 1;
  }
  return counts;
}
