/**
 * An actor as the runtime sees it: the same object as the actor, so that an
 * idle one costs a single allocation. Only these six fields belong to the
 * runtime; whatever few actors need (children, timers, a history of crashes)
 * hangs on `extras`, made when first needed and given back when empty.
 *
 * Invariant: `_parent` and `_key` never change once set, and the parent's map
 * holds the actor under its key from spawn until it is gone; a restart puts a
 * new instance into the same place and moves mailbox and ref to it.
 */

import { assert } from "../base/assert.js";
import type { Clock } from "../base/clock.js";
import type { Random } from "../base/random.js";
import type { WheelEntry } from "../base/timer-wheel.js";
import { type ActorKey, type Address, addressOn } from "./address.js";
import type { Asker, AskResult, Context, Envelope, StopReason } from "./envelope.js";
import type { ActorKind } from "./kind.js";
import { AWAITING, type Mailbox, RUNNING } from "./mailbox.js";

export interface Cell {
  _parent: Cell | undefined;
  _key: ActorKey;
  _mailbox: Mailbox<Cell, Host> | undefined;
  /** State, marks, and the count of processed messages; see below. */
  _flags: number;
  _ref: Ref | undefined;
  _extras: Extras | undefined;

  readonly kind: ActorKind;
  receive(
    message: unknown,
    from: Asker | undefined,
    context: Context | undefined,
  ): void | Promise<void>;
  started(): void | Promise<void>;
  stopping(reason: StopReason): void | Promise<void>;
  createChild(key: ActorKey): unknown;
  onChildStopped(key: ActorKey, reason: StopReason): void;
  mayPassivate(): boolean;
  inspect(): Record<string, unknown>;
}

/** The root of a tree knows the system; every other actor finds it by its parents. */
export interface RootCell extends Cell {
  readonly host: Host;
}

/** What an actor may ask of the system it lives in. */
export interface System {
  /** `<nodeId>.<incarnation>`, as it is called now. */
  readonly node: string;
  readonly clock: Clock;
  readonly random: Random;
  tell(to: Address | Ref, message: unknown, context?: Context): void;
  ask<Answer = unknown>(
    to: Address | Ref,
    message: unknown,
    deadlineMs: number,
    context?: Context,
  ): Promise<AskResult<Answer>>;
  /**
   * This incarnation of another node is dead for good: asks to it end as UNREACHABLE,
   * its watchers are forgotten, those who watch there are told, nothing is sent any more.
   */
  nodeGone(node: string): void;
  /** Who said that it was gone was wrong: it is reached again. */
  nodeBack(node: string): void;
  /**
   * This node goes on as another incarnation: its actors live on, under new addresses.
   * What others address to the former one never arrives, and what had not been sent to
   * others never is; asks to them end as UNREACHABLE, who watches there is told so.
   */
  rejoin(incarnation: string): void;
}

/** What the services of `Actor` are made of. */
export interface Host extends System {
  deliver(cell: Cell, message: unknown, envelope: Envelope | undefined): boolean;
  spawn(parent: Cell, key: ActorKey): void;
  requestStop(cell: Cell, cause: "self" | "parent"): void;
  startTimer(cell: Cell, delayMs: number, message: unknown): TimerHandle;
  /** What an actor waited for by `pipe` failed, and it has no message for that. */
  deliverPiped(cell: Cell, message: unknown): void;
  failPiped(cell: Cell, error: unknown): void;
  watch(watcher: Cell, target: Address | Ref): void;
  unwatch(watcher: Cell, target: Address | Ref): void;
}

export interface TimerHandle {
  /** The message will not arrive, even when the timer has fired already. */
  cancel(): void;
}

/** What few actors need. Restart history of its own, and of its children as their supervisor. */
export class Extras {
  children: Map<ActorKey, Cell> | undefined = undefined;
  /** The latest of its running timers, which link to the others. */
  timers: LinkedTimer | undefined = undefined;
  timerCount = 0;
  sweeps: Map<ActorKind, WheelEntry> | undefined = undefined;
  ending: Ending | undefined = undefined;
  childRestartsAtMs: number[] | undefined = undefined;
  history: OwnRestarts | undefined = undefined;
}

/** One of an actor's running timers. */
export interface LinkedTimer extends WheelEntry {
  newer: LinkedTimer | undefined;
  older: LinkedTimer | undefined;
}

/** Of one child, over all of its instances. */
export interface OwnRestarts {
  restarts: number;
  /** Restarts in a row. */
  attempt: number;
  lastEndMs: number;
}

/** An actor's way from running to gone, or to its next instance. */
export class Ending {
  /** Children left to stop, the next one last. */
  order: Cell[] | undefined = undefined;
  isLooping = false;
  /** The instance that followed. */
  successor: Cell | undefined = undefined;
  /** The deadline of `stopping`, or the wait before the next instance. */
  timer: WheelEntry | undefined = undefined;

  constructor(
    /** "regroup": again with the siblings that its restart takes along. */
    public next: "gone" | "restart" | "regroup" | "reactivate",
    public reason: StopReason,
    public restartDelayMs: number,
    /** Raised in the parent once this actor is gone. */
    public escalation: Error | undefined,
    /** Its last turn still runs somewhere, so `stopping` must not run beside it. */
    readonly wasAbandoned: boolean,
  ) {}
}

// Low three bits of _flags: the state.
export const STATE = 0b111;
export const NEW = 0;
export const STARTING = 1;
export const LIVE = 2;
export const ENDING = 3;
export const BACKOFF = 4;
export const GONE = 5;
export const STATE_NAMES = ["new", "starting", "live", "ending", "backoff", "gone"] as const;

/** `started` was called, so `stopping` is owed. */
export const HAS_STARTED = 1 << 3;
/** Got a message since the last passivation sweep. */
export const TOUCHED = 1 << 4;
export const IS_WATCHED = 1 << 5;
export const IS_WATCHING = 1 << 6;
export const STOP_SELF = 1 << 7;
export const STOP_PARENT = 1 << 8;
/** Because a sibling is restarted. */
export const STOP_GROUP = 1 << 9;
export const STOP_WANTED = STOP_SELF | STOP_PARENT | STOP_GROUP;

const PROCESSED_SHIFT = 10;
const PROCESSED_MAX = 2 ** (30 - PROCESSED_SHIFT) - 1;

export function stateOf(cell: Cell): number {
  return cell._flags & STATE;
}

/** Takes messages, and may be given more to do. */
export function isAlive(cell: Cell): boolean {
  const state = stateOf(cell);
  return state === LIVE || state === STARTING;
}

/** In one that runs, or awaits; the root takes none. */
export function isInTurn(cell: Cell): boolean {
  if ((cell as Partial<RootCell>).host !== undefined) return false;
  const phase = cell._mailbox?.phase;
  return phase === RUNNING || phase === AWAITING;
}

export function setState(cell: Cell, state: number): void {
  cell._flags = (cell._flags & ~STATE) | state;
}

/** Adds to the count of processed messages, which stays at a million once there. */
export function addProcessed(cell: Cell, count: number): void {
  const flags = cell._flags;
  const total = Math.min((flags >> PROCESSED_SHIFT) + count, PROCESSED_MAX);
  cell._flags = (flags & ((1 << PROCESSED_SHIFT) - 1)) | (total << PROCESSED_SHIFT);
}

export function processedOf(cell: Cell): number {
  return cell._flags >> PROCESSED_SHIFT;
}

export function extrasOf(cell: Cell): Extras {
  cell._extras ??= new Extras();
  return cell._extras;
}

/** Gives the extras back when nothing is left in them; where something was taken out. */
export function trimExtras(cell: Cell): void {
  const extras = cell._extras;
  if (extras === undefined || extras.timers !== undefined || extras.history !== undefined) return;
  if (extras.sweeps !== undefined || extras.ending !== undefined) return;
  if (extras.childRestartsAtMs !== undefined || (extras.children?.size ?? 0) > 0) return;
  cell._extras = undefined;
}

export function childrenOf(cell: Cell): Map<ActorKey, Cell> {
  const extras = extrasOf(cell);
  extras.children ??= new Map<ActorKey, Cell>();
  return extras.children;
}

export function hostOf(cell: Cell): Host {
  // In its turn it has a mailbox, which spares the way up past actors of all classes.
  const mailbox = cell._mailbox;
  if (mailbox !== undefined) return mailbox.host;
  let root = cell;
  while (root._parent !== undefined) root = root._parent;
  const host = (root as Partial<RootCell>).host;
  assert(host !== undefined, "an actor has its services from spawn on, not in its constructor");
  return host;
}

/** Who has its place, mailbox and ref by now: itself, or the latest instance that followed it. */
export function latestOf(cell: Cell): Cell {
  const ending = stateOf(cell) === GONE ? cell._extras?.ending : undefined;
  if (ending?.successor === undefined) return cell;
  let latest = ending.successor;
  while (stateOf(latest) === GONE) {
    const next = latest._extras?.ending?.successor;
    if (next === undefined) break;
    latest = next;
  }
  // Remembered, so that the instances between are not kept by whoever keeps the first.
  ending.successor = latest;
  return latest;
}

/** "shards/17", from the keys of the parents; empty for the root. */
export function pathTo(cell: Cell): string {
  let path = "";
  for (let at = cell; at._parent !== undefined; at = at._parent) {
    path = path === "" ? String(at._key) : `${at._key}/${path}`;
  }
  return path;
}

export function addressOf(cell: Cell): Address {
  return addressOn(hostOf(cell).node, pathTo(cell));
}

export function refOf(cell: Cell): Ref {
  cell._ref ??= new Ref(cell, hostOf(cell));
  return cell._ref;
}

/** A local actor, whichever instance of it lives; of no use on another node, where addresses are. */
export class Ref {
  /** @internal */ cell: Cell;
  /** @internal */ readonly host: Host;

  constructor(cell: Cell, host: Host) {
    this.cell = cell;
    this.host = host;
  }

  get address(): Address {
    return addressOf(this.cell);
  }

  tell(message: unknown, context?: Context): void {
    this.host.tell(this, message, context);
  }
}
