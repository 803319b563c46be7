/**
 * A process on a shared virtual clock that can be stopped (SIGSTOP) and taken off the
 * bus, with its own ends of a bus, a bucket and a store that others share.
 *
 * While it is stopped all that comes waits. When it goes on it takes its input first, each
 * with all that follows from it, and then its timers, or the other way round: as an event
 * loop does, wherever it was stopped.
 */
import type { Cancel, Clock } from "../../src/base/clock.js";
import { Fault } from "../../src/base/result.js";
import type { MemoryBus } from "../../src/drivers/memory-bus.js";
import type { MemoryKeyValue } from "../../src/drivers/memory-key-value.js";
import type { InboxGroup, InboxStore } from "../../src/ports/inbox-store.js";
import type { KeyValue, KeyValueEntry } from "../../src/ports/key-value.js";
import type { Bus, BusMessage, BusSubscription, PublishOptions } from "../../src/runtime/ports.js";
import type { VirtualClock } from "./virtual-clock.js";

type Source = "timer" | "turn" | "input";

export class StoppableProcess implements Clock {
  isOut = false;
  private phase: "running" | "stopped" | "catching-up" = "running";
  private inputs: (() => void)[] = [];
  private timers: (() => void)[] = [];
  private readonly returns = new Set<() => void>();

  constructor(private readonly clock: VirtualClock) {}

  wallMs(): number {
    return this.clock.wallMs();
  }

  monotonicMs(): number {
    return this.clock.monotonicMs();
  }

  after(delayMs: number, callback: () => void): Cancel {
    let isCancelled = false;
    const run = () => {
      if (!isCancelled) callback();
    };
    const cancel = this.clock.after(delayMs, () => this.handle("timer", run));
    return () => {
      isCancelled = true;
      cancel();
    };
  }

  soon(callback: () => void): void {
    this.clock.soon(() => this.handle("turn", callback));
  }

  /** Something comes from outside. */
  input(run: () => void): void {
    this.handle("input", run);
  }

  stop(): void {
    this.phase = "stopped";
  }

  resume(first: "input" | "timers" = "input"): void {
    this.phase = "catching-up";
    if (first === "timers") this.takeTimers();
    this.clock.after(0, () => this.takeInput());
  }

  private takeTimers(): void {
    for (const timer of this.timers.splice(0)) this.clock.after(0, timer);
  }

  private takeInput(): void {
    const run = this.inputs.shift();
    if (run !== undefined) {
      run();
      // The turns that it led to come first.
      this.clock.soon(() => this.clock.soon(() => this.takeInput()));
      return;
    }
    this.phase = "running";
    this.takeTimers();
  }

  goOut(): void {
    this.isOut = true;
  }

  comeBack(): void {
    this.isOut = false;
    for (const onReturn of [...this.returns]) onReturn();
  }

  watchReturns(onReturn: () => void): () => void {
    this.returns.add(onReturn);
    return () => void this.returns.delete(onReturn);
  }

  /** What `ask` gives, as this process comes to know of it; a fault while it is off the bus. */
  call<Answer>(ask: () => Promise<Answer>): Promise<Answer> {
    if (this.isOut) return Promise.reject(new Fault("DISCONNECTED", "not-done", "off the bus"));
    return this.local(ask);
  }

  /** The same for what needs no bus. */
  local<Answer>(ask: () => Promise<Answer>): Promise<Answer> {
    return new Promise((resolve, reject) => {
      ask().then(
        (answer) => this.input(() => resolve(answer)),
        (cause) => this.input(() => reject(cause)),
      );
    });
  }

  private handle(source: Source, run: () => void): void {
    if (this.phase === "running" || (this.phase === "catching-up" && source === "turn")) run();
    else if (source === "timer") this.timers.push(run);
    else this.inputs.push(run);
  }
}

export class ProcessBus implements Bus {
  readonly published: BusMessage[] = [];

  constructor(
    private readonly server: MemoryBus,
    private readonly process: StoppableProcess,
  ) {}

  get payloadMax(): number {
    return this.server.payloadMax;
  }

  publish(subject: string, payload: Uint8Array, options?: PublishOptions): void {
    if (this.process.isOut) return;
    this.published.push({ subject, payload });
    this.server.publish(subject, payload, options);
  }

  subscribe(subject: string, onMessage: (message: BusMessage) => void): BusSubscription {
    let isActive = true;
    const inner = this.server.subscribe(subject, (message) => {
      if (this.process.isOut) return;
      this.process.input(() => {
        if (isActive) onMessage(message);
      });
    });
    return {
      unsubscribe: () => {
        isActive = false;
        inner.unsubscribe();
      },
    };
  }

  request(subject: string, payload: Uint8Array, deadlineMs: number): Promise<Uint8Array> {
    return this.process.call(() => this.server.request(subject, payload, deadlineMs));
  }

  flush(): Promise<void> {
    return this.process.call(() => this.server.flush());
  }
}

export class ProcessKeyValue implements KeyValue {
  constructor(
    private readonly bucket: MemoryKeyValue,
    private readonly process: StoppableProcess,
  ) {}

  get(key: string) {
    return this.process.call(() => this.bucket.get(key));
  }

  create(key: string, value: Uint8Array) {
    return this.process.call(() => this.bucket.create(key, value));
  }

  update(key: string, value: Uint8Array, revision: number) {
    return this.process.call(() => this.bucket.update(key, value, revision));
  }

  delete(key: string, revision: number) {
    return this.process.call(() => this.bucket.delete(key, revision));
  }

  list(prefix: string) {
    return this.process.call(() => this.bucket.list(prefix));
  }

  /** After each return all is read again, and told again, as the driver does it. */
  async watch(
    prefix: string,
    onChange: (key: string, entry: KeyValueEntry | undefined) => void,
  ): Promise<() => void> {
    const { bucket, process } = this;
    const known = new Set<string>();
    const tell = (key: string, entry: KeyValueEntry | undefined) =>
      process.input(() => {
        if (entry === undefined) known.delete(key);
        else known.add(key);
        onChange(key, entry);
      });
    const begin = () =>
      bucket.watch(prefix, (key, entry) => {
        if (!process.isOut) tell(key, entry);
      });
    let stop = await process.call(begin);
    process.watchReturns(async () => {
      stop();
      stop = await begin();
      const present = new Set((await bucket.list(prefix)).map(({ key }) => key));
      for (const key of known) if (!present.has(key)) tell(key, undefined);
    });
    return () => stop();
  }
}

/**
 * A store that one process at a time has open, group by group. On a machine the holder
 * would be killed by the next opener: here it is noted.
 */
export class HeldStore {
  private readonly holders = new Map<number, string>();
  readonly killed: string[] = [];
  /** How long they take. */
  closeMs = 0;
  commitMs = 0;

  constructor(
    private readonly store: InboxStore,
    private readonly clock: VirtualClock,
  ) {}

  connect(name: string, process: StoppableProcess): InboxStore {
    const { store, holders } = this;
    return {
      groupCount: store.groupCount,
      groupOf: (shard) => store.groupOf(shard),
      openGroup: (group) =>
        process.local(async () => {
          const holder = holders.get(group);
          if (holder === name) throw new Fault("STORE_UNAVAILABLE", "not-done", "open already");
          if (holder !== undefined) this.killed.push(`${holder} for group ${group}, by ${name}`);
          holders.set(group, name);
          const release = async () => {
            await this.wait(this.closeMs);
            if (holders.get(group) === name) holders.delete(group);
          };
          return new HeldGroup(this, await store.openGroup(group), process, release);
        }),
    };
  }

  async wait(ms: number): Promise<void> {
    if (ms > 0) await new Promise<void>((done) => void this.clock.after(ms, done));
  }

  isHeldBy(name: string): boolean {
    return [...this.holders.values()].includes(name);
  }
}

class HeldGroup implements InboxGroup {
  constructor(
    private readonly store: HeldStore,
    private readonly group: InboxGroup,
    private readonly process: StoppableProcess,
    private readonly release: () => Promise<void>,
  ) {}

  raise(...args: Parameters<InboxGroup["raise"]>) {
    return this.process.local(() => this.group.raise(...args));
  }
  commit(...args: Parameters<InboxGroup["commit"]>) {
    return this.process.local(async () => {
      await this.store.wait(this.store.commitMs);
      return this.group.commit(...args);
    });
  }
  loadSession(...args: Parameters<InboxGroup["loadSession"]>) {
    return this.process.local(() => this.group.loadSession(...args));
  }
  namesOf(...args: Parameters<InboxGroup["namesOf"]>) {
    return this.process.local(() => this.group.namesOf(...args));
  }
  readEntries(...args: Parameters<InboxGroup["readEntries"]>) {
    return this.process.local(() => this.group.readEntries(...args));
  }
  readDue(...args: Parameters<InboxGroup["readDue"]>) {
    return this.process.local(() => this.group.readDue(...args));
  }
  readChanges(...args: Parameters<InboxGroup["readChanges"]>) {
    return this.process.local(() => this.group.readChanges(...args));
  }
  listSessions(...args: Parameters<InboxGroup["listSessions"]>) {
    return this.process.local(() => this.group.listSessions(...args));
  }
  close(): Promise<void> {
    return this.process.local(async () => {
      await this.group.close();
      await this.release();
    });
  }
}
