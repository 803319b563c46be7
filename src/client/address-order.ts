/** In which order a device tries the addresses that it knows. Pure. */
import type { EdgeAddress } from "./dispatcher-answer.js";

/** Each address of the first datacenter fails so often before another datacenter is tried. */
const homeRounds = 2;

/**
 * The address for attempt `attempt`, counted from 0 since one was last good: the last good
 * one, then the others of its datacenter in their order, twice; then those of the other
 * datacenters with them, round and round. Undefined when none is known.
 */
export function addressAt(
  edges: readonly EdgeAddress[],
  lastGood: string | undefined,
  attempt: number,
): string | undefined {
  const good = edges.find(({ url }) => url === lastGood);
  const ordered = good === undefined ? edges : [good, ...edges.filter((edge) => edge !== good)];
  // The list's first is the user's home; a visit elsewhere does not change that.
  const homeIdc = edges[0]?.idc;
  const home = ordered.filter(({ idc }) => idc === homeIdc);
  const isVisiting = good !== undefined && good.idc !== homeIdc;
  const near = isVisiting ? [good, ...home] : home;
  const nearAttempts = near.length * homeRounds;
  if (attempt < nearAttempts) return near[attempt % near.length]?.url;
  const all = [...near, ...ordered.filter((edge) => !near.includes(edge))];
  // Those that nobody tried yet come first.
  return all[(attempt - nearAttempts + near.length) % all.length]?.url;
}

/**
 * Addresses that came without an order, in one that is the same for one user and differs
 * between users (rendezvous hashing: Thaler and Ravishankar, 1998).
 */
export function rendezvousOrder(key: string, urls: readonly string[]): EdgeAddress[] {
  const weighed = urls.map((url) => ({ url, weight: weight(`${key}\n${url}`) }));
  weighed.sort((one, other) => other.weight - one.weight || (one.url < other.url ? -1 : 1));
  return weighed.map(({ url }) => ({ url }));
}

/** 64 bits that name a user to a dispatcher. */
export function userKey(user: string): string {
  const half = (text: string): string => weight(text).toString(16).padStart(8, "0");
  return half(user) + half(`\n${user}`);
}

/** FNV-1a over UTF-16 units, and a last mixing, without which similar texts weigh alike. */
function weight(text: string): number {
  let hash = 0x811c9dc5;
  for (let at = 0; at < text.length; at++) {
    hash = Math.imul(hash ^ text.charCodeAt(at), 0x01000193);
  }
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}
