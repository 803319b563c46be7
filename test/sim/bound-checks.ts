/**
 * Invariant 5 once all is quiet: no mailbox, buffer, map or timer keeps what it should
 * have let go. Looks into the actors, but for shards, which are 4096 and alike.
 */
import type { Actor } from "../../src/runtime/actor.js";
import type { RunningSimNode } from "./sim-node.js";

/** Leaders ping each node ten times a second; a request or two may be on their way. */
const requestsMax = 64;
/** One for each shard of a group, for good. */
const byShard: ReadonlySet<string> = new Set(["contexts", "epochs", "shards", "subscriptions"]);
/** Runs of a few hundred pushes to a user: what remembers more than that forgets nothing. */
const rememberedMax = 2_000;
const timersMax = 256;
const rootsOfNode = ["membership", "placement", "shards", "edge", "desk"];

/** What is too large; undefined when nothing is. */
export function unboundedIn(node: RunningSimNode): string | undefined {
  const { name, system, bus } = node;
  const { pendingAsks, runQueue, timers, pendingOutboxEntries } = system.counters();
  if (pendingAsks > 0) return `${name} has ${pendingAsks} open asks`;
  if (runQueue > requestsMax) return `${name} has ${runQueue} actors in its queue`;
  if (bus.pendingRequests > requestsMax) return `${name} has ${bus.pendingRequests} requests`;
  if (pendingOutboxEntries > requestsMax) return `${name} has ${pendingOutboxEntries} unsent`;
  if (timers > timersMax) return `${name} has ${timers} timers`;
  for (const root of rootsOfNode) {
    const actor = system.find(root)?.cell as unknown as Actor | undefined;
    if (actor === undefined) return `${name} has no ${root} actor`;
    const unbounded = unboundedActor(root, actor);
    if (unbounded !== undefined) return `${name}: ${unbounded}`;
  }
  return undefined;
}

function unboundedActor(path: string, actor: Actor): string | undefined {
  const { kind } = actor;
  const held = actor.inspect()["held"];
  if (typeof held === "number" && held > 0) return `${path} still holds ${held} pushes`;
  const max = kind.name === "session" ? rememberedMax : requestsMax;
  const large = largestCollection(actor, 2);
  if (large.size > max) return `${path} has ${large.size} of ${large.field}`;
  for (const child of childrenOf(actor)) {
    const isPlainShard = child.kind.name === "shard" && childrenOf(child).length === 0;
    if (isPlainShard) continue;
    const unbounded = unboundedActor(`${path}/${String(keyOf(child))}`, child);
    if (unbounded !== undefined) return unbounded;
  }
  return undefined;
}

interface Inside {
  readonly _key: unknown;
  readonly _extras?: { readonly children?: ReadonlyMap<unknown, Actor> };
}

function childrenOf(actor: Actor): readonly Actor[] {
  return [...((actor as unknown as Inside)._extras?.children?.values() ?? [])];
}

function keyOf(actor: Actor): unknown {
  return (actor as unknown as Inside)._key;
}

interface Large {
  readonly field: string;
  readonly size: number;
}

/** Of the maps, sets and lists that hang on an actor, but for what all actors share. */
function largestCollection(holder: object, depth: number): Large {
  let largest: Large = { field: "", size: 0 };
  const note = (field: string, size: number) => {
    if (!byShard.has(field) && size > largest.size) largest = { field, size };
  };
  for (const [field, value] of Object.entries(holder)) {
    if (field === "node" || field === "context" || field === "edge" || field.startsWith("_")) {
      continue;
    }
    if (value instanceof Map || value instanceof Set) note(field, value.size);
    else if (Array.isArray(value)) note(field, value.length);
    else if (depth > 0 && isPlainHolder(value)) {
      const inner = largestCollection(value, depth - 1);
      note(`${field}.${inner.field}`, inner.size);
    }
  }
  return largest;
}

function isPlainHolder(value: unknown): value is object {
  return typeof value === "object" && value !== null && !ArrayBuffer.isView(value);
}
