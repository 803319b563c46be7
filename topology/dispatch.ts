/**
 * Where a client is to connect: edges in an order that is the same each time for the same
 * client, by weighted rendezvous hashing (Thaler and Ravishankar, 1998; weights: Schindelhauer
 * and Schomaker, 2005). An edge that comes or goes changes the first place only of those
 * clients that it gets or had. Pure.
 */

import { type EdgePolicy, plainWeight } from "./edge-policy.js";
import type { Sighting } from "./election.js";
import type { NodeRecord } from "./node-record.js";

/** An edge as clients may be told of it. */
export interface EdgeCandidate {
  readonly id: string;
  readonly idc: string;
  readonly urls: readonly string[];
  /** Above 0. */
  readonly weight: number;
}

export interface EdgeAddress {
  readonly url: string;
  readonly idc: string;
}

/** What is known of the edges. */
export interface EdgeKnowledge {
  readonly idc: string;
  readonly policy: EdgePolicy;
  readonly nodes: Iterable<NodeRecord>;
  /** It has not renewed for so long that clients are not to be sent there. */
  readonly isStale: (record: NodeRecord) => boolean;
}

export interface EdgeChoice {
  readonly own: readonly EdgeCandidate[];
  readonly others: readonly EdgeCandidate[];
  /** Own ones in drain: told of only while there is nobody else. */
  readonly lastResort: readonly EdgeCandidate[];
}

/** Addresses in one answer. */
export const addressesMax = 8;
/** A client that has failed so often is also given other datacenters'. */
export const attemptsUntilElsewhere = 4;

/**
 * Who takes new clients. Who is unwell does so only where nobody else does: its sockets
 * work, and an edge that may fail is better than none. So is one in drain whose others are
 * gone; weight 0 is an order.
 */
export function edgeChoice({ idc, policy, nodes, isStale }: EdgeKnowledge): EdgeChoice {
  const alive = [...nodes].filter((node) => isTaking(node, policy) && !isStale(node));
  const open = alive.filter(({ nodeId }) => !policy.draining.has(nodeId));
  const well = open.filter(({ unwell }) => unwell === undefined);
  const here = (all: readonly NodeRecord[]) => all.filter((node) => node.idc === idc);
  const own = here(well).length > 0 ? here(well) : here(open);
  const elsewhere = well.filter((node) => node.idc !== idc);
  return {
    own: own.map((node) => candidateOf(node, policy)),
    lastResort: here(alive)
      .filter((node) => !open.includes(node))
      .map((node) => candidateOf(node, policy)),
    others: [
      ...elsewhere.map((node) => candidateOf(node, policy)),
      ...policy.others
        .filter(({ edges }) => edges.length > 0)
        .map((other) => ({
          id: other.idc,
          idc: other.idc,
          urls: other.edges,
          weight: plainWeight,
        })),
    ],
  };
}

function isTaking({ nodeId, isEdgeClosed }: NodeRecord, { weights }: EdgePolicy): boolean {
  return isEdgeClosed !== true && weights.get(nodeId) !== 0;
}

function candidateOf(
  { nodeId, idc, edgeUrl, edgeUrls }: NodeRecord,
  { weights }: EdgePolicy,
): EdgeCandidate {
  const weight = weights.get(nodeId) ?? plainWeight;
  return { id: nodeId, idc, urls: edgeUrls ?? [edgeUrl], weight };
}

/**
 * `key` names the client, such as its user; `attempt` counts its failures since it was last
 * connected. Own addresses first, until it has failed so often that others may be nearer.
 */
export function dispatch(choice: EdgeChoice, key: string, attempt: number): EdgeAddress[] {
  const own = addressesOf(choice.own, key);
  if (own.length > 0 && attempt < attemptsUntilElsewhere) return own.slice(0, addressesMax);
  const others = addressesOf(choice.others, key);
  if (own.length + others.length === 0) return addressesOf(choice.lastResort, key);
  return alternating(others, own).slice(0, addressesMax);
}

/**
 * In rounds: one address of each edge, then the next one of each, so that an edge with many
 * does not crowd out the others, and each round begins at another port or host of theirs.
 */
function addressesOf(edges: readonly EdgeCandidate[], key: string): EdgeAddress[] {
  const keyHash = hashOf(key);
  const ranked = edges
    .map((edge) => ({ edge, score: scoreOf(edge, keyHash) }))
    .sort((a, b) => a.score - b.score || (a.edge.id < b.edge.id ? -1 : 1))
    .map(({ edge }) => edge);
  const addresses: EdgeAddress[] = [];
  for (let round = 0; addresses.length < addressesMax; round++) {
    const before = addresses.length;
    for (const [rank, { urls, idc }] of ranked.entries()) {
      if (round >= urls.length || addresses.length >= addressesMax) continue;
      const url = urls[(keyHash + rank + round) % urls.length] as string;
      addresses.push({ url, idc });
    }
    if (addresses.length === before) break;
  }
  return addresses;
}

function alternating<Item>(first: readonly Item[], second: readonly Item[]): Item[] {
  const length = Math.max(first.length, second.length);
  return Array.from({ length }, (_, at) => [first[at], second[at]])
    .flat()
    .filter((item) => item !== undefined);
}

/** The least wins: an exponential variable with the weight as its rate. */
function scoreOf({ id, weight }: EdgeCandidate, keyHash: number): number {
  const draw = (mixed(hashOf(id) ^ keyHash) + 1) / (2 ** 32 + 1);
  return -Math.log(draw) / weight;
}

/** FNV-1a, 32 bits. */
function hashOf(text: string): number {
  let hash = 0x811c9dc5;
  for (let at = 0; at < text.length; at++) {
    hash = Math.imul(hash ^ text.charCodeAt(at), 0x01000193);
  }
  return hash >>> 0;
}

/** Murmur3's finalizer: keys that differ in their last character are told apart in all bits. */
function mixed(value: number): number {
  let hash = value;
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}

/** Whether the directory's word of a node is too old to send clients to it. */
export function isStaleRecord(
  { leaseMs }: Pick<NodeRecord, "leaseMs">,
  seen: Sighting | undefined,
  nowMs: number,
  marginMs: number,
): boolean {
  return seen === undefined || nowMs - seen.sinceMs > leaseMs + marginMs;
}
