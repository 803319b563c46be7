/**
 * Watching, between actors here and on other nodes: keeps the table, sends the
 * other node what it must know, and announces who is gone. A watch ends in one
 * `Terminated`, in `unwatch`, or with the watching instance.
 */
import { assert } from "../base/assert.js";
import { type Address, pathOf } from "./address.js";
import { addressOf, type Cell, GONE, isAlive, pathTo, Ref, refOf, stateOf } from "./cell.js";
import type { StopReason, Terminated, TerminatedReason } from "./envelope.js";
import type { Remote } from "./remote.js";
import type { Scheduler } from "./scheduler.js";
import { type Party, Watches } from "./watches.js";
import { UNWATCH, WATCH } from "./wire.js";

export class Watching {
  private readonly table: Watches;

  constructor(
    private readonly scheduler: Scheduler,
    private readonly remote: () => Remote,
    /** The local actor at a path. */
    private readonly find: (path: string) => Ref | undefined,
    max: number,
  ) {
    this.table = new Watches(max);
  }

  get size(): number {
    return this.table.size;
  }

  /** `target` is undefined when no actor is at the local address `address`. */
  watch(watcher: Cell, target: Party | undefined, address: Address): void {
    if (!isAlive(watcher)) return;
    const own = refOf(watcher);
    if (isGone(target)) {
      this.announce([own], address, "no-such-actor");
      return;
    }
    assert(this.table.add(own, target), "the bound on watches is reached");
    if (target instanceof Ref) return;
    if (this.remote().watch(target, pathTo(watcher), WATCH)) return;
    this.table.remove(own, target);
    this.announce([own], target, "unreachable");
  }

  unwatch(watcher: Cell, target: Party | undefined): void {
    if (target === undefined || !this.table.remove(refOf(watcher), target)) return;
    if (!(target instanceof Ref)) this.remote().watch(target, pathTo(watcher), UNWATCH);
  }

  onInstanceEnded(watcher: Cell): void {
    for (const target of this.table.forgetWatcher(watcher)) {
      this.remote().watch(target, pathTo(watcher), UNWATCH);
    }
  }

  onWatchedGone(cell: Cell, reason: StopReason): void {
    this.announce(this.table.takeWatchers(refOf(cell)), addressOf(cell), reason);
  }

  onNodeGone(node: string): void {
    this.announceUnreachable(this.table.takeNode(node));
  }

  /** Other nodes know this one's watchers by their former addresses, which are no more. */
  onRenamed(): void {
    this.announceUnreachable(this.table.takeRemote());
  }

  private announceUnreachable(targets: readonly Address[]): void {
    for (const target of targets) {
      this.announce(this.table.takeWatchers(target), target, "unreachable");
    }
  }

  onRemoteWatch(path: string, watcher: Address): void {
    const target = this.find(path);
    if (isGone(target)) this.remote().terminated(watcher, path, "no-such-actor");
    else if (!this.table.add(watcher, target)) {
      this.remote().terminated(watcher, path, "unreachable");
    }
  }

  onRemoteUnwatch(path: string, watcher: Address): void {
    const target = this.find(path);
    if (target !== undefined) this.table.remove(watcher, target);
  }

  onRemoteTerminated(watcherPath: string, target: Address, reason: TerminatedReason): void {
    const watcher = this.find(watcherPath);
    if (watcher === undefined || !this.table.remove(watcher, target)) return;
    this.announce([watcher], target, reason);
  }

  private announce(watchers: Party[], address: Address, reason: TerminatedReason): void {
    const message: Terminated = { kind: "Terminated", address, reason };
    for (const watcher of watchers) {
      if (!(watcher instanceof Ref)) this.remote().terminated(watcher, pathOf(address), reason);
      else if (isAlive(watcher.cell)) {
        this.scheduler.wake(watcher.cell).notify({ type: "message", message });
      }
    }
  }
}

/** No actor, or one that its parent's map still holds until the end of the parent's turn. */
function isGone(target: Party | undefined): target is undefined {
  return target === undefined || (target instanceof Ref && stateOf(target.cell) === GONE);
}
