/**
 * Who is told when whom is gone for good. Local actors are known by their refs,
 * which outlive restarts, actors of other nodes by their addresses.
 *
 * Invariant: `watchers` and `targets` are each other's inverse.
 */
import type { Address } from "./address.js";
import { type Cell, IS_WATCHED, IS_WATCHING, Ref, refOf } from "./cell.js";

export type Party = Ref | Address;

export class Watches {
  private readonly watchers = new Map<Party, Set<Party>>();
  private readonly targets = new Map<Party, Set<Party>>();
  private count = 0;

  constructor(private readonly max: number) {}

  get size(): number {
    return this.count;
  }

  /** False when the table is full. Watching twice is watching once. */
  add(watcher: Party, target: Party): boolean {
    if (this.targets.get(watcher)?.has(target) === true) return true;
    if (this.count >= this.max) return false;
    insert(this.watchers, target, watcher);
    insert(this.targets, watcher, target);
    this.count++;
    if (watcher instanceof Ref) watcher.cell._flags |= IS_WATCHING;
    if (target instanceof Ref) target.cell._flags |= IS_WATCHED;
    return true;
  }

  remove(watcher: Party, target: Party): boolean {
    if (!withdraw(this.targets, watcher, target)) return false;
    withdraw(this.watchers, target, watcher);
    this.count--;
    return true;
  }

  /** Forgets all that `cell` watches; gives the remote ones, which must be told. */
  forgetWatcher(cell: Cell): Address[] {
    if ((cell._flags & IS_WATCHING) === 0) return [];
    cell._flags &= ~IS_WATCHING;
    const watcher = refOf(cell);
    const remote: Address[] = [];
    for (const target of [...(this.targets.get(watcher) ?? [])]) {
      this.remove(watcher, target);
      if (!(target instanceof Ref)) remote.push(target);
    }
    return remote;
  }

  /** Takes out and gives all who watch `target`, local or remote. */
  takeWatchers(target: Party): Party[] {
    const watchers = [...(this.watchers.get(target) ?? [])];
    for (const watcher of watchers) this.remove(watcher, target);
    return watchers;
  }

  /** Of a node that is gone: forgets its watchers, gives its watched actors. */
  takeNode(node: string): Address[] {
    const prefix = `${node}/`;
    return this.takeThere(
      (party): party is Address => !(party instanceof Ref) && party.startsWith(prefix),
    );
  }

  /** The same for all other nodes. */
  takeRemote(): Address[] {
    return this.takeThere((party): party is Address => !(party instanceof Ref));
  }

  private takeThere(isThere: (party: Party) => party is Address): Address[] {
    for (const watcher of [...this.targets.keys()].filter(isThere)) {
      for (const target of [...(this.targets.get(watcher) ?? [])]) this.remove(watcher, target);
    }
    return [...this.watchers.keys()].filter(isThere);
  }
}

function insert(map: Map<Party, Set<Party>>, key: Party, value: Party): void {
  const set = map.get(key);
  if (set === undefined) map.set(key, new Set([value]));
  else set.add(value);
}

function withdraw(map: Map<Party, Set<Party>>, key: Party, value: Party): boolean {
  const set = map.get(key);
  if (set === undefined || !set.delete(value)) return false;
  if (set.size === 0) map.delete(key);
  return true;
}
