/**
 * An actor as the runtime sees it: the same object as the actor, so that an
 * idle one costs a single allocation. Only these six fields belong to the
 * runtime; whatever few actors need (children, timers, a history of crashes)
 * hangs on `extras`, made when first needed.
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
  _mailbox: Mailbox<Cell> | undefined;
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
  /** `<nodeId>.<incarnation>`. */
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
}

/** What the services of `Actor` are made of. */
export interface Host extends System {
  deliver(cell: Cell, message: unknown, envelope: Envelope | undefined): boolean;
  spawn(parent: Cell, key: ActorKey): void;
  requestStop(cell: Cell, cause: "self" | "parent"): void;
  startTimer(cell: Cell, delayMs: number, message: unknown): TimerHandle;
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
  timers: Set<WheelEntry> | undefined = undefined;
  sweeps: Map<ActorKind, WheelEntry> | undefined = undefined;
  ending: Ending | undefined = undefined;
  childRestartsAtMs: number[] | undefined = undefined;
  restarts = 0;
  attempt = 0;
  lastEndMs = Number.NEGATIVE_INFINITY;
}

/** An actor's way from running to gone, or to its next instance. */
export class Ending {
  /** Children left to stop, the next one last. */
  order: Cell[] | undefined = undefined;
  isLooping = false;
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

export function childrenOf(cell: Cell): Map<ActorKey, Cell> {
  const extras = extrasOf(cell);
  extras.children ??= new Map<ActorKey, Cell>();
  return extras.children;
}

export function hostOf(cell: Cell): Host {
  let root = cell;
  while (root._parent !== undefined) root = root._parent;
  const host = (root as Partial<RootCell>).host;
  assert(host !== undefined, "an actor has its services from spawn on, not in its constructor");
  return host;
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
