/**
 * Where an actor is: `<nodeId>.<incarnation>/<key>/<key>…`, readable by people
 * and valid on every node. The part before the first slash is the node.
 *
 * A key that is a number is written in decimal; a path finds a child by either,
 * and a parent never has both, so an address names one actor.
 */
import { assert } from "../base/assert.js";

declare const addressBrand: unique symbol;
export type Address = string & { readonly [addressBrand]: true };

export type ActorKey = string | number;

const KEY_LENGTH_MAX = 256;
const ADDRESS_LENGTH_MAX = 2_048;
const NODE = /^[A-Za-z0-9_-]{1,64}\.[A-Za-z0-9_-]{1,32}$/;

/** `<nodeId>.<incarnation>`; both must fit into a subject's token. */
export function nodeName(nodeId: string, incarnation: string): string {
  const node = `${nodeId}.${incarnation}`;
  assert(isNodeName(node), `not a node name: ${node}`);
  return node;
}

export function isNodeName(text: unknown): text is string {
  return typeof text === "string" && NODE.test(text);
}

/** Checks what came from outside; undefined when it is not an address. */
export function parseAddress(text: unknown): Address | undefined {
  if (typeof text !== "string" || text.length > ADDRESS_LENGTH_MAX) return undefined;
  const slash = text.indexOf("/");
  if (slash < 0 || slash === text.length - 1) return undefined;
  return NODE.test(text.slice(0, slash)) ? (text as Address) : undefined;
}

/** The address of `path` ("shards/17") on `node` ("dc1-a.k3f9"). */
export function addressOn(node: string, path: string): Address {
  return `${node}/${path}` as Address;
}

export function nodeOf(address: Address): string {
  return address.slice(0, address.indexOf("/"));
}

export function pathOf(address: Address): string {
  return address.slice(address.indexOf("/") + 1);
}

/** The subject that a node's runtime listens on. */
export function actorsSubject(node: string): string {
  return `node.${node}.actors`;
}

export function assertKey(key: ActorKey): void {
  if (typeof key === "number") {
    assert(Number.isSafeInteger(key) && key >= 0, `a numeric key is a natural number: ${key}`);
    return;
  }
  const fits = key.length > 0 && key.length <= KEY_LENGTH_MAX && !key.includes("/");
  assert(fits, `a key has 1 to ${KEY_LENGTH_MAX} characters and no slash: ${key.slice(0, 64)}`);
}

/** The number that `segment` is the decimal of, so that "17" also finds child 17. */
export function numericKey(segment: string): number | undefined {
  const first = segment.charCodeAt(0);
  if (first < 48 || first > 57 || segment.length > 16) return undefined;
  const value = Number(segment);
  return Number.isSafeInteger(value) && String(value) === segment ? value : undefined;
}

/** The same key in its other form, if it has one: 17 for "17" and "17" for 17. */
export function otherForm(key: ActorKey): ActorKey | undefined {
  return typeof key === "number" ? String(key) : numericKey(key);
}
