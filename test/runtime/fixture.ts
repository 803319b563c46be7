/** A system on virtual time, and an actor that does what a test's script says. */
import { Actor } from "../../src/runtime/actor.js";
import type { ActorKey, Address } from "../../src/runtime/address.js";
import type { Ref, System, TimerHandle } from "../../src/runtime/cell.js";
import type { CrashReport } from "../../src/runtime/crash-report.js";
import type { DeadLetter } from "../../src/runtime/dead-letters.js";
import type { Asker, AskResult, Context, StopReason } from "../../src/runtime/envelope.js";
import type { ActorKind } from "../../src/runtime/kind.js";
import { ActorSystem } from "../../src/runtime/system.js";
import type { SystemOptions } from "../../src/runtime/system-options.js";
import { VirtualClock } from "../support/virtual-clock.js";

export function kindOf(overrides: Partial<ActorKind> = {}): ActorKind {
  return {
    name: "scripted",
    mailbox: { max: 100, onFull: "reject" },
    restart: "transient",
    ...overrides,
  };
}

/** What an actor of these does; shared by all of its instances, so it outlives restarts. */
export interface Script {
  readonly kind: ActorKind;
  readonly log: unknown[];
  instances: number;
  onReceive?: (self: Scripted, message: unknown, from: Asker | undefined) => void | Promise<void>;
  onStarted?: (self: Scripted) => void | Promise<void>;
  onStopping?: (self: Scripted, reason: StopReason) => void | Promise<void>;
  onChildStopped?: (self: Scripted, key: ActorKey, reason: StopReason) => void;
  mayPassivate?: () => boolean;
  children?: (key: ActorKey) => Actor;
}

export function script(kind: Partial<ActorKind> = {}, rest: Partial<Script> = {}): Script {
  return { kind: kindOf(kind), log: [], instances: 0, ...rest };
}

/** A message that runs in the actor's turn. */
export interface Run {
  readonly kind: "Run";
  readonly run: (self: Scripted, from: Asker | undefined, context: Context | undefined) => unknown;
}

export function run(body: Run["run"]): Run {
  return { kind: "Run", run: body };
}

export class Scripted extends Actor {
  readonly instance: number;

  constructor(readonly script: Script) {
    super();
    this.instance = ++script.instances;
  }

  get kind(): ActorKind {
    return this.script.kind;
  }

  receive(
    message: unknown,
    from: Asker | undefined,
    context: Context | undefined,
  ): void | Promise<void> {
    if (isRun(message)) return message.run(this, from, context) as void | Promise<void>;
    this.script.log.push(message);
    return this.script.onReceive?.(this, message, from);
  }

  protected override started(): void | Promise<void> {
    return this.script.onStarted?.(this);
  }

  protected override stopping(reason: StopReason): void | Promise<void> {
    return this.script.onStopping?.(this, reason);
  }

  protected override createChild(key: ActorKey): Actor {
    return this.script.children === undefined ? super.createChild(key) : this.script.children(key);
  }

  protected override onChildStopped(key: ActorKey, reason: StopReason): void {
    this.script.onChildStopped?.(this, key, reason);
  }

  protected override mayPassivate(): boolean {
    return this.script.mayPassivate?.() ?? true;
  }

  override inspect(): Record<string, unknown> {
    return { instance: this.instance };
  }

  // The services, for scripts.
  doSpawn(key: ActorKey): void {
    this.spawn(key);
  }
  doSpawnAll(count: number): void {
    for (let key = 0; key < count; key++) this.spawn(key);
  }
  doHasChild(key: ActorKey): boolean {
    return this.hasChild(key);
  }
  doTellChild(key: ActorKey, message: unknown): boolean {
    return this.tellChild(key, message);
  }
  doStopChild(key: ActorKey): void {
    this.stopChild(key);
  }
  doStopSelf(): void {
    this.stopSelf();
  }
  doAsk(to: Address | Ref, message: unknown, deadlineMs: number): Promise<AskResult<unknown>> {
    return this.ask(to, message, deadlineMs);
  }
  doTellSelf(message: unknown): boolean {
    return this.tellSelf(message);
  }
  doPipe(
    promise: Promise<unknown>,
    toMessage: (value: unknown) => unknown,
    toFailure?: (error: unknown) => unknown,
  ): void {
    this.pipe(promise, toMessage, toFailure);
  }
  doTimer(delayMs: number, message: unknown): TimerHandle {
    return this.timer(delayMs, message);
  }
  doWatch(to: Address | Ref): void {
    this.watch(to);
  }
  doUnwatch(to: Address | Ref): void {
    this.unwatch(to);
  }
  get doChildCount(): number {
    return this.childCount;
  }
  get doSystem(): System {
    return this.system;
  }
}

function isRun(message: unknown): message is Run {
  return typeof message === "object" && message !== null && "run" in message;
}

export interface Fixture {
  readonly system: ActorSystem;
  readonly clock: VirtualClock;
  readonly crashes: CrashReport[];
  readonly letters: DeadLetter[];
}

/** Random 0.5 unless given: every jitter is half of its bound. */
export function fixture(options: Partial<SystemOptions> & { clock?: VirtualClock } = {}): Fixture {
  const clock = options.clock ?? new VirtualClock();
  const crashes: CrashReport[] = [];
  const letters: DeadLetter[] = [];
  const system = new ActorSystem({
    nodeId: "dc1-a",
    incarnation: "k3f9",
    random: { next: () => 0.5 },
    onCrash: (report) => void crashes.push(report),
    onDeadLetter: (letter) => void letters.push(letter),
    ...options,
    clock,
  });
  return { system, clock, crashes, letters };
}

/** A promise that the test settles. */
export function gate(): { promise: Promise<void>; open: () => void; fail: (e: Error) => void } {
  let open = (): void => {};
  let fail = (_error: Error): void => {};
  const promise = new Promise<void>((resolve, reject) => {
    open = resolve;
    fail = reject;
  });
  return { promise, open, fail };
}

export function numbers(count: number): number[] {
  return Array.from({ length: count }, (_, at) => at);
}
