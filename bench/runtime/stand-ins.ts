/** A store and a bus that keep nothing, so that what is measured is the actors' own. */
import type { Clock } from "../../src/base/clock.js";
import { Fault } from "../../src/base/result.js";
import type {
  CommitAnswer,
  FenceAnswer,
  FenceRequest,
  InboxGroup,
  InboxStore,
  ShardWrite,
} from "../../src/ports/inbox-store.js";
import { groupOfShard, type Shard } from "../../src/protocol/shards.js";
import type { Bus, BusMessage, BusSubscription } from "../../src/runtime/ports.js";

const groupCount = 8;

/** Says yes to every write and finds nothing. */
export class ForgetfulStore implements InboxStore {
  readonly groupCount = groupCount;

  groupOf(shard: Shard): number {
    return groupOfShard(shard, groupCount);
  }

  async openGroup(): Promise<InboxGroup> {
    return new ForgetfulGroup();
  }
}

class ForgetfulGroup implements InboxGroup {
  private readonly lastChanges = new Map<Shard, number>();

  async raise(requests: readonly FenceRequest[]): Promise<readonly FenceAnswer[]> {
    const value = { previousReservedUntilMs: 0, lastChange: 0, publishedChange: 0 };
    return requests.map(({ epoch }) => ({ ok: true, value, epoch }));
  }

  async commit(writes: readonly ShardWrite[]): Promise<readonly CommitAnswer[]> {
    return writes.map(({ shard, epoch, sessions }) => {
      const changes = sessions.reduce((sum, session) => sum + session.changes.length, 0);
      const lastChange = (this.lastChanges.get(shard) ?? 0) + changes;
      this.lastChanges.set(shard, lastChange);
      return { ok: true, value: { lastChange }, epoch };
    });
  }

  async loadSession(): Promise<undefined> {
    return undefined;
  }

  async namesOf(): Promise<{ seqs: []; keys: [] }> {
    return { seqs: [], keys: [] };
  }

  async readEntries(): Promise<[]> {
    return [];
  }

  async readDue(): Promise<[]> {
    return [];
  }

  async readChanges(): Promise<[]> {
    return [];
  }

  async listSessions(): Promise<[]> {
    return [];
  }

  async close(): Promise<void> {}
}

/** Between the systems of one process, by exact subject; what nobody takes is gone. */
export class ProcessBus implements Bus {
  readonly payloadMax = 1024 * 1024;
  private readonly handlers = new Map<string, (message: BusMessage) => void>();

  constructor(private readonly clock: Clock) {}

  publish(subject: string, payload: Uint8Array): void {
    const handler = this.handlers.get(subject);
    if (handler !== undefined) this.clock.soon(() => handler({ subject, payload }));
  }

  /** A message from outside, for whoever subscribed `pattern`. */
  receive(pattern: string, subject: string, payload: Uint8Array): void {
    this.handlers.get(pattern)?.({ subject, payload });
  }

  subscribe(subject: string, onMessage: (message: BusMessage) => void): BusSubscription {
    this.handlers.set(subject, onMessage);
    return { unsubscribe: () => void this.handlers.delete(subject) };
  }

  request(): Promise<Uint8Array> {
    return Promise.reject(new Fault("NO_RESPONDERS", "not-done", "nobody answers on this bus"));
  }

  async flush(): Promise<void> {}
}
