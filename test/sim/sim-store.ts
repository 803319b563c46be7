/**
 * One MemoryInbox behind a way of its own for each process: calls take time, stall,
 * and fail with known and unknown outcomes. What is on its way when the process dies
 * may still take effect, as with a store on another machine.
 */
import { Fault } from "../../src/base/result.js";
import { MemoryInbox } from "../../src/drivers/memory-inbox.js";
import type {
  CommitAnswer,
  FenceAnswer,
  FenceRequest,
  InboxGroup,
  InboxStore,
  ShardWrite,
} from "../../src/ports/inbox-store.js";
import type { SessionKey, Shard } from "../../src/protocol/shards.js";
import type { SimProcess } from "./sim-process.js";
import type { World } from "./world.js";

export interface StoreWatcher {
  onRaised(by: string, requests: readonly FenceRequest[], answers: readonly FenceAnswer[]): void;
  onCommitted(by: string, writes: readonly ShardWrite[], answers: readonly CommitAnswer[]): void;
}

/** Probabilities of each call. */
export interface StoreFaults {
  /** Fails, and nothing was done. */
  notDone: number;
  /** Takes effect, and the answer is lost. */
  unknownDone: number;
  unknownNotDone: number;
}

/** Wraps what a process is given; for deliberate breakages. */
export type BreakGroup = (group: InboxGroup) => InboxGroup;

export class SimStore {
  readonly inbox: MemoryInbox;
  readonly faults: StoreFaults = { notDone: 0, unknownDone: 0, unknownNotDone: 0 };
  /** Nothing takes effect before. */
  stalledUntilMs = 0;
  latencyMs: readonly [number, number] = [0.1, 2];
  readonly watchers: StoreWatcher[] = [];
  breakGroup: BreakGroup = (group) => group;

  constructor(
    readonly world: World,
    groupCount: number,
  ) {
    this.inbox = new MemoryInbox(groupCount);
  }

  connect(process: SimProcess): InboxStore {
    const { inbox } = this;
    return {
      groupCount: inbox.groupCount,
      groupOf: (shard) => inbox.groupOf(shard),
      openGroup: async (group) => {
        const way = new StoreWay(this, process);
        const opened = await way.call("open", () => inbox.openGroup(group));
        return new SimGroup(this, process, way, this.breakGroup(opened));
      },
    };
  }
}

/** Calls of one opened group, in order. */
class StoreWay {
  private lastMs = 0;
  private isCut = false;

  constructor(
    private readonly store: SimStore,
    private readonly process: SimProcess,
  ) {}

  /** `act` has its effect in the very instant in which it is called. */
  call<Answer>(name: string, act: () => Promise<Answer>): Promise<Answer> {
    const { store, process } = this;
    const { world } = store;
    const { random } = world;
    const [low, high] = store.latencyMs;
    const soonestMs = world.nowMs + random.between(low, high);
    this.lastMs = Math.max(soonestMs, this.lastMs + 0.001, store.stalledUntilMs);
    const fault = this.pickFault(name);
    return new Promise((resolve, reject) => {
      const settle = (answer: () => void) => {
        const answerMs = random.between(low, high);
        world.after(answerMs, "store", () => process.receive(name, answer));
      };
      const fail = (outcome: "not-done" | "unknown") =>
        settle(() => reject(new Fault("STORE_UNAVAILABLE", outcome, `${name}: an injected fault`)));
      world.at(this.lastMs, name, () => {
        if (this.isLost()) return;
        if (fault === "notDone") return fail("not-done");
        if (fault === "unknownNotDone") return fail("unknown");
        const done = act();
        if (fault === "unknownDone") {
          done.catch(() => {});
          return fail("unknown");
        }
        done.then(
          (value) => settle(() => resolve(value)),
          (cause) => settle(() => reject(cause)),
        );
      });
    });
  }

  private pickFault(name: string): keyof StoreFaults | undefined {
    // A group that cannot be closed ends the process, which is a fault of its own.
    if (name === "close") return undefined;
    const { faults, world } = this.store;
    for (const kind of ["notDone", "unknownDone", "unknownNotDone"] as const) {
      if (world.random.chance(faults[kind])) return kind;
    }
    return undefined;
  }

  /** What a dead process had sent may have left it; what follows a lost call has not. */
  private isLost(): boolean {
    if (!this.process.isDead) return false;
    this.isCut ||= this.store.world.random.chance(0.5);
    return this.isCut;
  }
}

class SimGroup implements InboxGroup {
  private isClosed = false;

  constructor(
    private readonly store: SimStore,
    private readonly process: SimProcess,
    private readonly way: StoreWay,
    private readonly group: InboxGroup,
  ) {}

  raise(requests: readonly FenceRequest[]): Promise<readonly FenceAnswer[]> {
    return this.way.call("raise", async () => {
      const answers = await this.group.raise(requests);
      const { watchers } = this.store;
      for (const watcher of watchers) watcher.onRaised(this.process.name, requests, answers);
      return answers;
    });
  }

  commit(writes: readonly ShardWrite[]): Promise<readonly CommitAnswer[]> {
    return this.way.call("commit", async () => {
      const answers = await this.group.commit(writes);
      this.store.world.note(this.process.name, "commits", () => describe(writes));
      const { watchers } = this.store;
      for (const watcher of watchers) watcher.onCommitted(this.process.name, writes, answers);
      return answers;
    });
  }

  loadSession(shard: Shard, key: SessionKey) {
    return this.way.call("load", () => this.group.loadSession(shard, key));
  }

  namesOf(shard: Shard, key: SessionKey) {
    return this.way.call("names", () => this.group.namesOf(shard, key));
  }

  readEntries(shard: Shard, key: SessionKey, afterSeq: number, countMax: number, bytesMax: number) {
    return this.way.call("read", () =>
      this.group.readEntries(shard, key, afterSeq, countMax, bytesMax),
    );
  }

  /** Nothing is due for almost all shards, which an index in memory would know: no delay. */
  readDue(shard: Shard, untilMs: number, countMax: number) {
    if (this.isClosed) return Promise.reject(closed());
    if (this.store.inbox.dataOf(shard).due.size === 0) return Promise.resolve([]);
    return this.way.call("due", () => this.group.readDue(shard, untilMs, countMax));
  }

  readChanges(shard: Shard, afterNumber: number, countMax: number) {
    return this.way.call("changes", () => this.group.readChanges(shard, afterNumber, countMax));
  }

  listSessions(shard: Shard, afterKey: string, countMax: number) {
    return this.way.call("list", () => this.group.listSessions(shard, afterKey, countMax));
  }

  close(): Promise<void> {
    this.isClosed = true;
    return this.way.call("close", () => this.group.close());
  }
}

function closed(): Fault {
  return new Fault("STORE_UNAVAILABLE", "not-done", "the group of shards is closed");
}

function describe(writes: readonly ShardWrite[]): string {
  const parts = writes.flatMap(({ shard, epoch, sessions }) =>
    sessions.map(({ key, append, drop, changes }) => {
      const seqs = (append ?? []).map(({ seq }) => seq).join(",");
      const acked = changes.flatMap((one) => (one.kind === "acked" ? [`${one.seq}`] : []));
      const what = [
        seqs === "" ? "" : ` +${seqs}`,
        drop?.length ? ` -${drop.join(",")}` : "",
        acked.length > 0 ? ` acked ${acked.join(",")}` : "",
      ];
      return `${shard}e${epoch} ${key}${what.join("")}`;
    }),
  );
  return parts.join("; ");
}
