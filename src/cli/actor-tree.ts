/**
 * A node's tree of actors as people want it: few children one by one, many summed
 * by kind, and whatever was restarted or is not live always by its address.
 *
 * Sums are over the actors that were walked; `walked` beside `count` tells when the
 * walk ended above some of them.
 */
import { isMap } from "../protocol/codec.js";
import { listAt, numberAt, textAt } from "./report.js";

/** As a node reports it. */
export interface ActorTree {
  readonly key: string;
  readonly kind: string;
  readonly state: string;
  readonly mailbox: number;
  readonly mailboxMax: number;
  readonly processed: number;
  readonly restarts: number;
  readonly childCounts: Readonly<Record<string, number>>;
  readonly children: readonly ActorTree[];
}

/** One actor that is shown by itself. */
export interface Branch extends Omit<ActorTree, "children"> {
  readonly address: string;
  readonly children: readonly Branch[];
  /** Instead of `children`, where they are many or were not walked. */
  readonly summaries: readonly KindSummary[];
}

/** All actors of a kind below the same place. */
export interface KindSummary {
  readonly kind: string;
  readonly count: number;
  readonly walked: number;
  readonly mailbox: number;
  readonly processed: number;
  readonly restarts: number;
  readonly below: readonly KindSummary[];
}

/** An actor that an operator should look at. */
export interface Notable {
  readonly address: string;
  readonly kind: string;
  readonly state: string;
  readonly restarts: number;
}

/** Undefined for what is no tree: the node may be of another version. */
export function readTree(value: unknown): ActorTree | undefined {
  const kind = textAt(value, "kind");
  if (!isMap(value) || kind === null) return undefined;
  const counts = isMap(value.childCounts) ? value.childCounts : {};
  return {
    key: String(value.key),
    kind,
    state: textAt(value, "state") ?? "unknown",
    mailbox: numberAt(value, "mailbox") ?? 0,
    mailboxMax: numberAt(value, "mailboxMax") ?? 0,
    processed: numberAt(value, "processed") ?? 0,
    restarts: numberAt(value, "restarts") ?? 0,
    childCounts: Object.fromEntries(
      Object.entries(counts).flatMap(([name, count]) =>
        typeof count === "number" ? [[name, count]] : [],
      ),
    ),
    children: listAt(value, "children").flatMap((child) => readTree(child) ?? []),
  };
}

/** `address` of the tree's root, without a slash at its end for the root of a node. */
export function branchOf(tree: ActorTree, address: string, listedMax: number): Branch {
  const { children, ...own } = tree;
  const isListed = childCount(tree) === children.length && children.length <= listedMax;
  return {
    ...own,
    address,
    children: isListed
      ? children.map((child) => branchOf(child, `${address}/${child.key}`, listedMax))
      : [],
    summaries: isListed ? [] : summarise([tree]),
  };
}

/** The children of all `parents`, by kind. */
function summarise(parents: readonly ActorTree[]): KindSummary[] {
  const counts = new Map<string, number>();
  const members = new Map<string, ActorTree[]>();
  for (const parent of parents) {
    for (const [kind, count] of Object.entries(parent.childCounts)) {
      counts.set(kind, (counts.get(kind) ?? 0) + count);
    }
    for (const child of parent.children) {
      const list = members.get(child.kind) ?? [];
      list.push(child);
      members.set(child.kind, list);
    }
  }
  return [...counts].map(([kind, count]) => {
    const walked = members.get(kind) ?? [];
    const sum = (figure: (actor: ActorTree) => number) =>
      walked.reduce((total, actor) => total + figure(actor), 0);
    return {
      kind,
      count,
      walked: walked.length,
      mailbox: sum((actor) => actor.mailbox),
      processed: sum((actor) => actor.processed),
      restarts: sum((actor) => actor.restarts),
      below: summarise(walked),
    };
  });
}

/** Restarted or not live, at most `most`, in the order of the tree. */
export function notables(tree: ActorTree, address: string, most: number): Notable[] {
  const found: Notable[] = [];
  const visit = (actor: ActorTree, at: string): void => {
    const { kind, state, restarts, children } = actor;
    if (found.length >= most) return;
    if (restarts > 0 || state !== "live") found.push({ address: at, kind, state, restarts });
    for (const child of children) visit(child, `${at}/${child.key}`);
  };
  visit(tree, address);
  return found;
}

export function childCount(tree: ActorTree): number {
  return Object.values(tree.childCounts).reduce((total, count) => total + count, 0);
}

/** How many actors of each kind the tree holds, as far as it was walked. */
export function countKinds(tree: ActorTree): Record<string, number> {
  const kinds: Record<string, number> = {};
  const visit = (actor: ActorTree): void => {
    for (const [kind, count] of Object.entries(actor.childCounts)) {
      kinds[kind] = (kinds[kind] ?? 0) + count;
    }
    for (const child of actor.children) visit(child);
  };
  visit(tree);
  return kinds;
}

/** Actors in the tree, and those that a walk one deeper would add at most. */
export function sizeOf(tree: ActorTree, childLimit: number): { walked: number; next: number } {
  let walked = 1;
  let next = tree.children.length === 0 ? Math.min(childCount(tree), childLimit) : 0;
  for (const child of tree.children) {
    const below = sizeOf(child, childLimit);
    walked += below.walked;
    next += below.next;
  }
  return { walked, next };
}
