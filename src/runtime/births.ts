/**
 * How an instance comes to be: made by its parent from its key, started before
 * its first message, and, when it follows another, given what outlives one:
 * mailbox, ref, the mark of being watched, and the history of restarts. Who still
 * holds the old instance finds the new one by it.
 */
import { assert } from "../base/assert.js";
import { type Actor, cellOf, hasStarted } from "./actor.js";
import type { ActorKey } from "./address.js";
import {
  type Cell,
  extrasOf,
  HAS_STARTED,
  IS_WATCHED,
  LIVE,
  NEW,
  STARTING,
  setState,
  stateOf,
  TOUCHED,
} from "./cell.js";
import type { Scheduler } from "./scheduler.js";

/** Throws what the parent's `createChild` throws. */
export function makeChild(parent: Cell, key: ActorKey): Cell {
  const child = cellOf(parent.createChild(key) as Actor);
  assert(stateOf(child) === NEW && child._parent === undefined, "createChild makes a new actor");
  child._parent = parent;
  child._key = key;
  return child;
}

/** STARTING when `started` needs a turn of its own, else LIVE at once. */
export function startInstance(cell: Cell, scheduler: Scheduler): void {
  if (hasStarted(cell)) {
    setState(cell, STARTING);
    scheduler.wake(cell).attention = true;
    return;
  }
  cell._flags |= HAS_STARTED | TOUCHED;
  setState(cell, LIVE);
  const mailbox = cell._mailbox;
  if (mailbox === undefined) return;
  if (mailbox.size > 0 || mailbox.attention) scheduler.enqueue(mailbox);
  else scheduler.release(cell);
}

export function handOver(old: Cell, fresh: Cell): void {
  const mailbox = old._mailbox;
  fresh._mailbox = mailbox;
  if (mailbox !== undefined) mailbox.owner = fresh;
  old._mailbox = undefined;
  fresh._ref = old._ref;
  if (fresh._ref !== undefined) fresh._ref.cell = fresh;
  fresh._flags |= old._flags & IS_WATCHED;
  const extras = old._extras;
  if (extras?.ending !== undefined) extras.ending.successor = fresh;
  if (extras?.history !== undefined) extrasOf(fresh).history = extras.history;
}
