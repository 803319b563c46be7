/**
 * One node's way to a store that others share, with the troubles of a disk: writes that
 * do not end until it is mended, and groups that do not open. What hung takes effect then.
 */
import { Fault } from "../../src/base/result.js";
import type { InboxGroup, InboxStore } from "../../src/ports/inbox-store.js";
import type { Shard } from "../../src/protocol/shards.js";

export class TroubledStore implements InboxStore {
  readonly closedToOpening = new Set<number>();
  private stalled: Promise<void> | undefined = undefined;
  private mend: () => void = () => undefined;

  constructor(private readonly store: InboxStore) {}

  get groupCount(): number {
    return this.store.groupCount;
  }

  groupOf(shard: Shard): number {
    return this.store.groupOf(shard);
  }

  stall(): void {
    this.stalled = new Promise((resolve) => {
      this.mend = resolve;
    });
  }

  goOn(): void {
    this.stalled = undefined;
    this.mend();
  }

  async openGroup(group: number): Promise<InboxGroup> {
    if (this.closedToOpening.has(group)) {
      throw new Fault("STORE_UNAVAILABLE", "not-done", `group ${group} does not open here`);
    }
    await this.stalled;
    const inner = await this.store.openGroup(group);
    const behind =
      <Given, Answer>(call: (given: Given) => Promise<Answer>) =>
      async (given: Given): Promise<Answer> => {
        while (this.stalled !== undefined) await this.stalled;
        return call(given);
      };
    return {
      raise: behind((requests) => inner.raise(requests)),
      commit: behind((writes) => inner.commit(writes)),
      close: behind<void, void>(() => inner.close()),
      loadSession: (shard, key) => inner.loadSession(shard, key),
      readEntries: (...given) => inner.readEntries(...given),
      readDue: (...given) => inner.readDue(...given),
      readChanges: (...given) => inner.readChanges(...given),
      listSessions: (...given) => inner.listSessions(...given),
    };
  }
}
