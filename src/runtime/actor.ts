/**
 * The class that actors extend. It holds state and answers messages, one at a
 * time; everything else is done by the system that it finds by its parents.
 *
 * Fields with an underscore belong to the runtime (see cell.ts); they are
 * public only because TypeScript knows no friends.
 */
import { AssertionFailed } from "../base/assert.js";
import type { ActorKey, Address } from "./address.js";
import {
  addressOf,
  type Cell,
  ENDING,
  type Extras,
  GONE,
  type Host,
  hostOf,
  latestOf,
  type Ref,
  refOf,
  type System,
  stateOf,
  type TimerHandle,
} from "./cell.js";
import { type Asker, type AskResult, type Context, Envelope, type StopReason } from "./envelope.js";
import type { ActorKind } from "./kind.js";
import type { Mailbox } from "./mailbox.js";

export abstract class Actor<Message = unknown> {
  /** @internal */ _parent: Cell | undefined = undefined;
  /** @internal */ _key: ActorKey = 0;
  /** @internal */ _mailbox: Mailbox<Cell, Host> | undefined = undefined;
  /** @internal */ _flags = 0;
  /** @internal */ _ref: Ref | undefined = undefined;
  /** @internal */ _extras: Extras | undefined = undefined;

  /** A getter on the prototype, so that it costs no field. */
  abstract get kind(): ActorKind;

  /** One turn. While its promise is pending the mailbox is held. A throw or a rejection is a crash. */
  abstract receive(
    message: Message,
    from: Asker | undefined,
    context: Context | undefined,
  ): void | Promise<void>;

  /** Before the first message, of each instance; a throw counts as a crash. */
  protected started(): void | Promise<void> {}

  /**
   * Once for each instance whose `started` was called, after its children are
   * gone (the last one first), within the kind's stopDeadlineMs; also after a crash.
   */
  protected stopping(_reason: StopReason): void | Promise<void> {}

  /** Makes, and after a crash makes again, a child from its key; must have no other effect. */
  protected createChild(key: ActorKey): Actor {
    throw new AssertionFailed(`${this.kind.name} was asked for child ${key} and makes none`);
  }

  /** In the turn in which the child leaves; its key is free again. Not called while stopping itself. */
  protected onChildStopped(_key: ActorKey, _reason: StopReason): void {}

  /** A veto; asked only when idle, without children and without timers. */
  protected mayPassivate(): boolean {
    return true;
  }

  /** For operators: cheap, and JSON can carry it. */
  inspect(): Record<string, unknown> {
    return {};
  }

  get key(): ActorKey {
    return this._key;
  }

  /** Stays valid across restarts. */
  get ref(): Ref {
    return refOf(cellOf(this));
  }

  get address(): Address {
    return addressOf(cellOf(this));
  }

  get system(): System {
    return hostOf(cellOf(this));
  }

  /** Asserts that the key is free; the child has started when its first message is taken. */
  protected spawn(key: ActorKey): void {
    hostOf(cellOf(this)).spawn(cellOf(this), key);
  }

  /** True until the turn of `onChildStopped`, so also while the child stops. */
  protected hasChild(key: ActorKey): boolean {
    return this._extras?.children?.has(key) ?? false;
  }

  protected get childCount(): number {
    return this._extras?.children?.size ?? 0;
  }

  /** For reading; its state changes only by messages. The caller knows the class. */
  protected child<Child extends Actor = Actor>(key: ActorKey): Child | undefined {
    return this._extras?.children?.get(key) as unknown as Child | undefined;
  }

  protected childKeys(): IterableIterator<ActorKey> {
    return (this._extras?.children ?? NO_CHILDREN).keys();
  }

  /** False when there is no such child, it is on its way out, or its mailbox refused. */
  protected tellChild(key: ActorKey, message: unknown, context?: Context): boolean {
    const child = this._extras?.children?.get(key);
    if (child === undefined) return false;
    const state = stateOf(child);
    if (state >= ENDING) {
      if (state === GONE || child._extras?.ending?.next === "gone") return false;
    }
    const envelope = context === undefined ? undefined : new Envelope(undefined, context);
    return hostOf(cellOf(this)).deliver(child, message, envelope);
  }

  /** `onChildStopped` tells when it is gone; never made again, whatever its restart policy. */
  protected stopChild(key: ActorKey): void {
    const child = this._extras?.children?.get(key);
    if (child !== undefined) hostOf(child).requestStop(child, "parent");
  }

  /** After this turn; what waits in the mailbox is refused, unless the kind is permanent. */
  protected stopSelf(): void {
    hostOf(cellOf(this)).requestStop(cellOf(this), "self");
  }

  protected tell(to: Address | Ref, message: unknown, context?: Context): void {
    hostOf(cellOf(this)).tell(to, message, context);
  }

  protected ask<Answer = unknown>(
    to: Address | Ref,
    message: unknown,
    deadlineMs: number,
    context?: Context,
  ): Promise<AskResult<Answer>> {
    return hostOf(cellOf(this)).ask<Answer>(to, message, deadlineMs, context);
  }

  /**
   * `message` to itself, from a promise or a callback: what telling `ref` does, without
   * the ref that it would leave behind. It reaches the instance that follows this one,
   * if one does. False when it is refused, as by `tellChild`.
   */
  protected tellSelf(message: Message, context?: Context): boolean {
    const cell = latestOf(cellOf(this));
    const envelope = context === undefined ? undefined : new Envelope(undefined, context);
    return hostOf(cell).deliver(cell, message, envelope);
  }

  /**
   * Tells itself what becomes of `promise`, also where the mailbox is full; the turn goes on
   * meanwhile. A rejection that has no message, or a throw in making one, is a crash of this instance.
   */
  protected pipe<Value>(
    promise: Promise<Value>,
    toMessage: (value: Value) => Message,
    toFailure?: (error: unknown) => Message,
  ): void {
    promise.then(toMessage, toFailure).then(
      (message) => hostOf(cellOf(this)).deliverPiped(latestOf(cellOf(this)), message),
      (error) => hostOf(cellOf(this)).failPiped(cellOf(this), error),
    );
  }

  /** `message` to itself after `delayMs`, ahead of ordinary messages; dies with this instance. */
  protected timer(delayMs: number, message: Message): TimerHandle {
    return hostOf(cellOf(this)).startTimer(cellOf(this), delayMs, message);
  }

  /** One `Terminated` when the actor is gone for good; a restart is not that. Dies with this instance. */
  protected watch(to: Address | Ref): void {
    hostOf(cellOf(this)).watch(cellOf(this), to);
  }

  protected unwatch(to: Address | Ref): void {
    hostOf(cellOf(this)).unwatch(cellOf(this), to);
  }
}

const NO_CHILDREN: ReadonlyMap<ActorKey, Cell> = new Map();

/** The runtime's view of the same object, protected hooks included. */
export function cellOf(actor: Actor): Cell {
  return actor as unknown as Cell;
}

/** Hooks that were not overridden need no turn of their own. */
export function hasStarted(cell: Cell): boolean {
  return cell.started !== Actor.prototype["started"];
}

export function hasStopping(cell: Cell): boolean {
  return cell.stopping !== Actor.prototype["stopping"];
}
