/**
 * One tree of actors and all that it runs on. Puts the parts together and is the
 * way in from outside: tell, ask, inspect, stop.
 */
import { assert } from "../base/assert.js";
import type { Clock } from "../base/clock.js";
import type { Random } from "../base/random.js";
import { refused } from "../base/result.js";
import { type Actor, cellOf } from "./actor.js";
import { ActorTimers } from "./actor-timers.js";
import { type ActorKey, type Address, addressOn, nodeName, nodeOf, pathOf } from "./address.js";
import { Asks } from "./asks.js";
import {
  addressOf,
  type Cell,
  GONE,
  type Host,
  isAlive,
  Ref,
  refOf,
  stateOf,
  type TimerHandle,
} from "./cell.js";
import { type Counters, newCounters } from "./counters.js";
import { DeadLetters } from "./dead-letters.js";
import { type Departures, Endings } from "./endings.js";
import { type AskResult, type Context, Envelope } from "./envelope.js";
import {
  type ActorDetails,
  inspectActor,
  inspectTree,
  resolvePath,
  type TreeReport,
} from "./inspection.js";
import { Lifecycle } from "./lifecycle.js";
import { Passivation } from "./passivation.js";
import { type Inbound, Remote } from "./remote.js";
import { Root } from "./root.js";
import { Scheduler } from "./scheduler.js";
import { Supervisor } from "./supervisor.js";
import { DEFAULT_LIMITS, type SystemLimits, type SystemOptions } from "./system-options.js";
import { Timers } from "./timers.js";
import type { Party } from "./watches.js";
import { Watching } from "./watching.js";

export interface SystemCounters extends Counters {
  readonly runQueue: number;
  readonly pendingAsks: number;
  readonly pendingOutboxEntries: number;
  readonly timers: number;
  readonly watches: number;
}

export class ActorSystem implements Host {
  readonly clock: Clock;
  readonly random: Random;
  private readonly limits: SystemLimits;
  private readonly count: Counters = newCounters();
  private readonly deadLetters: DeadLetters;
  private readonly timers: Timers;
  private readonly scheduler: Scheduler;
  private readonly lifecycle: Lifecycle;
  private readonly passivation: Passivation;
  private readonly asks: Asks;
  private readonly watching: Watching;
  private readonly actorTimers: ActorTimers;
  private readonly remote: Remote;
  private readonly root: Root;
  private readonly rootCell: Cell;
  private readonly nodeId: string;
  private name: string;
  private ownPrefix: string;
  private stopped: Promise<boolean> | undefined;
  private onStopped: () => void = () => {};

  constructor(options: SystemOptions) {
    const { clock, random } = options;
    this.nodeId = options.nodeId;
    this.name = nodeName(options.nodeId, options.incarnation);
    this.ownPrefix = `${this.name}/`;
    this.clock = clock;
    this.random = random;
    this.limits = { ...DEFAULT_LIMITS, ...options.limits };
    this.deadLetters = new DeadLetters(clock, this.count, options.onDeadLetter);
    this.timers = new Timers(clock);
    this.asks = new Asks(clock, this.timers, this.count, this.limits.asksMax);
    this.scheduler = new Scheduler(
      clock,
      this.count,
      this.deadLetters,
      this.limits.loopBudget,
      this,
    );
    this.actorTimers = new ActorTimers(this.timers, this.scheduler, this.limits.timersPerActorMax);
    this.watching = new Watching(
      this.scheduler,
      () => this.remote,
      (path) => this.find(path),
      this.limits.watchesMax,
    );
    const supervisor = new Supervisor(clock, random, this.count, options.onCrash);
    const endings = new Endings(
      this.scheduler,
      this.timers,
      supervisor,
      this.count,
      this.departures(),
    );
    this.lifecycle = new Lifecycle(this.scheduler, endings, this.count);
    this.passivation = new Passivation(this.timers, (cell) => this.lifecycle.passivate(cell));
    this.scheduler.connect(this.lifecycle);
    this.remote = new Remote(
      this.node,
      options.bus,
      clock,
      this.count,
      this.deadLetters,
      this.inbound(),
      {
        flushBytes: this.limits.outboxBytesMax,
        turnBytesMax: this.limits.outboxTotalBytesMax,
      },
    );
    this.scheduler.afterRun = () => this.remote.flush();
    this.root = new Root(this);
    this.rootCell = cellOf(this.root);
    this.remote.start();
  }

  get node(): string {
    return this.name;
  }

  /** `make` is called now and at each restart. */
  spawnRoot(key: ActorKey, make: () => Actor): Ref {
    this.root.addMaker(key, make);
    try {
      const cell = this.lifecycle.spawn(this.rootCell, key);
      this.passivation.onSpawn(this.rootCell, cell.kind);
      return refOf(cell);
    } catch (error) {
      this.root.removeMaker(key);
      throw error;
    }
  }

  /** The ref of a local actor, if there is one at the address or path ("shards/17") now. */
  find(where: Address | string): Ref | undefined {
    const cell = this.resolve(where);
    return cell === undefined ? undefined : refOf(cell);
  }

  tell(to: Address | Ref, message: unknown, context?: Context): void {
    const envelope = context === undefined ? undefined : new Envelope(undefined, context);
    if (typeof to !== "string") {
      // A ref of another system in the same process takes the bus, as any other node's actor does.
      if (to.host === this) this.deliver(to.cell, message, envelope);
      else this.tell(to.address, message, context);
      return;
    }
    if (!to.startsWith(this.ownPrefix)) {
      this.remote.tell(to, message, context);
      return;
    }
    this.deliverTo(pathOf(to), message, envelope);
  }

  /** Resolves always, at the deadline at the latest; never rejects. */
  ask<Answer = unknown>(
    to: Address | Ref,
    message: unknown,
    deadlineMs: number,
    context?: Context,
  ): Promise<AskResult<Answer>> {
    return new Promise((resolve) => {
      const ownDeadlineMs = this.clock.monotonicMs() + deadlineMs;
      const untilMs = Math.min(ownDeadlineMs, context?.deadlineMs ?? ownDeadlineMs);
      const isLocal = to instanceof Ref ? to.host === this : to.startsWith(this.ownPrefix);
      const address = to instanceof Ref && !isLocal ? to.address : to;
      const node = isLocal || address instanceof Ref ? undefined : nodeOf(address);
      const settle = resolve as (result: AskResult<unknown>) => void;
      if (this.stopped !== undefined) {
        return settle(refused("STOPPED", "this actor system has stopped"));
      }
      const ask = this.asks.open(node, untilMs, settle);
      if (ask === undefined) {
        return settle(refused("TOO_MANY_ASKS", `${this.limits.asksMax} asks are pending`));
      }
      const full: Context = { ...context, deadlineMs: untilMs };
      if (address instanceof Ref) {
        this.deliver(address.cell, message, new Envelope(ask, full));
      } else if (node === undefined) {
        this.deliverTo(pathOf(address), message, new Envelope(ask, full));
      } else if (!this.remote.ask(address, message, ask.id, full)) {
        ask.refuse("UNREACHABLE", `could not be sent to ${node}`);
      }
    });
  }

  nodeGone(node: string): void {
    this.remote.nodeGone(node);
    this.asks.refuseAll("UNREACHABLE", `${node} is gone`, node);
    this.watching.onNodeGone(node);
  }

  nodeBack(node: string): void {
    this.remote.nodeBack(node);
  }

  rejoin(incarnation: string): void {
    const name = nodeName(this.nodeId, incarnation);
    assert(name !== this.name, `a rejoin takes a new incarnation: ${name}`);
    this.name = name;
    this.ownPrefix = `${name}/`;
    this.remote.rename(name);
    this.asks.refuseRemote("UNREACHABLE", `this node goes on as ${name}`);
    this.watching.onRenamed();
  }

  inspectTree(depth: number, childLimit: number): TreeReport {
    return inspectTree(this.rootCell, depth, childLimit);
  }

  inspectActor(where: Address | Ref): ActorDetails | undefined {
    const cell = where instanceof Ref ? where.cell : this.resolve(where);
    return cell === undefined || stateOf(cell) === GONE ? undefined : inspectActor(cell);
  }

  counters(): SystemCounters {
    return {
      ...this.count,
      deadLetters: { ...this.count.deadLetters },
      runQueue: this.scheduler.queueLength,
      pendingAsks: this.asks.size,
      pendingOutboxEntries: this.remote.pendingEntries,
      timers: this.timers.size,
      watches: this.watching.size,
    };
  }

  get runQueueLength(): number {
    return this.scheduler.queueLength;
  }

  /** Stops every actor, the last root first; false when the deadline cut it short. */
  stop(deadlineMs: number): Promise<boolean> {
    this.stopped ??= new Promise((resolve) => {
      const end = (isComplete: boolean): void => {
        this.onStopped = () => {};
        this.asks.refuseAll("STOPPED", "this actor system has stopped");
        this.remote.flush();
        this.remote.stop();
        this.timers.stop();
        resolve(isComplete);
      };
      this.onStopped = () => end(true);
      this.timers.after(deadlineMs, () => end(false));
      this.lifecycle.stopTree(this.rootCell);
    });
    return this.stopped;
  }

  // What actors use, by way of `Actor`.

  /** @internal */
  deliver(cell: Cell, message: unknown, envelope: Envelope | undefined): boolean {
    this.count.tellsLocal++;
    return this.scheduler.deliver(cell, message, envelope);
  }

  /** @internal */
  spawn(parent: Cell, key: ActorKey): void {
    const child = this.lifecycle.spawn(parent, key);
    this.passivation.onSpawn(parent, child.kind);
  }

  /** @internal */
  requestStop(cell: Cell, cause: "self" | "parent"): void {
    this.lifecycle.requestStop(cell, cause);
  }

  /** @internal */
  startTimer(cell: Cell, delayMs: number, message: unknown): TimerHandle {
    return this.actorTimers.start(cell, delayMs, message);
  }

  /** @internal Whoever waits for it would wait for ever: others' messages do not keep it out. */
  deliverPiped(cell: Cell, message: unknown): void {
    const { _mailbox: mailbox } = cell;
    const isFull = mailbox !== undefined && mailbox.size >= mailbox.max;
    if (isFull && isAlive(cell)) this.scheduler.wake(cell).notify({ type: "message", message });
    else this.deliver(cell, message, undefined);
  }

  /** @internal */
  failPiped(cell: Cell, error: unknown): void {
    if (isAlive(cell)) this.scheduler.wake(cell).notify({ type: "pipe-failed", error });
    else this.deadLetters.add("stopped", () => addressOf(cell), error);
  }

  /** @internal */
  watch(watcher: Cell, to: Address | Ref): void {
    this.watching.watch(watcher, this.partyOf(to), to instanceof Ref ? to.address : to);
  }

  /** @internal */
  unwatch(watcher: Cell, to: Address | Ref): void {
    this.watching.unwatch(watcher, this.partyOf(to));
  }

  private partyOf(to: Address | Ref): Party | undefined {
    if (to instanceof Ref) return to.host === this ? to : to.address;
    return to.startsWith(this.ownPrefix) ? this.find(to) : to;
  }

  private resolve(where: string): Cell | undefined {
    const isOwn = where.startsWith(this.ownPrefix);
    return resolvePath(this.rootCell, isOwn ? where.slice(this.ownPrefix.length) : where);
  }

  private deliverTo(path: string, message: unknown, envelope: Envelope | undefined): void {
    const cell = resolvePath(this.rootCell, path);
    if (cell !== undefined) {
      this.deliver(cell, message, envelope);
      return;
    }
    this.deadLetters.add("no-such-actor", () => addressOn(this.node, path), message);
    envelope?.from?.refuse("NO_SUCH_ACTOR", `no actor at ${path}`);
  }

  private departures(): Departures {
    return {
      onInstanceEnded: (cell) => {
        this.passivation.forget(cell);
        this.watching.onInstanceEnded(cell);
      },
      onWatchedGone: (cell, reason) => this.watching.onWatchedGone(cell, reason),
      onRootGone: () => this.onStopped(),
    };
  }

  private inbound(): Inbound {
    return {
      onRemoteMessage: (path, message, envelope) => this.deliverTo(path, message, envelope),
      onRemoteAnswer: (from, id, value) => this.asks.find(id, from)?.answer(value),
      onRemoteRefusal: (from, id, code, text) => this.asks.find(id, from)?.refuse(code, text),
      onRemoteWatch: (path, watcher) => this.watching.onRemoteWatch(path, watcher),
      onRemoteUnwatch: (path, watcher) => this.watching.onRemoteUnwatch(path, watcher),
      onRemoteTerminated: (path, target, reason) =>
        this.watching.onRemoteTerminated(path, target, reason),
    };
  }
}
