/**
 * One node's way to a store that others share, with the troubles of a disk: writes that
 * do not end until it is mended, groups that do not open, reads that wait, and commits that
 * take their time. What hung takes effect when it is mended.
 */
import type { Clock } from "../../src/base/clock.js";
import { Fault } from "../../src/base/result.js";
import type { InboxGroup, InboxStore, ShardWrite } from "../../src/ports/inbox-store.js";
import type { Shard } from "../../src/protocol/shards.js";

export class TroubledStore implements InboxStore {
  readonly closedToOpening = new Set<number>();
  private stalled: Promise<void> | undefined = undefined;
  private mend: () => void = () => undefined;
  /** While it stalls reads wait, too. */
  stallsReads = false;
  /** How long a commit of so many entries takes, once it stands nowhere else in line. */
  pace: { readonly clock: Clock; takesMs(entries: number): number } | undefined = undefined;

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

  private async takeTime(writes: readonly ShardWrite[]): Promise<void> {
    const { pace } = this;
    if (pace === undefined) return;
    const sessions = writes.flatMap((write) => write.sessions);
    const entries = sessions.reduce((sum, { append }) => sum + (append?.length ?? 0), 0);
    await new Promise<void>((resolve) => {
      pace.clock.after(pace.takesMs(entries), resolve);
    });
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
    const reading = async (): Promise<void> => {
      while (this.stallsReads && this.stalled !== undefined) await this.stalled;
    };
    return {
      raise: behind((requests) => inner.raise(requests)),
      commit: behind(async (writes) => {
        await this.takeTime(writes);
        return inner.commit(writes);
      }),
      close: behind<void, void>(() => inner.close()),
      loadSession: (shard, key) => reading().then(() => inner.loadSession(shard, key)),
      namesOf: (...given) => inner.namesOf(...given),
      readEntries: (...given) => inner.readEntries(...given),
      readDue: (...given) => reading().then(() => inner.readDue(...given)),
      readChanges: (...given) => inner.readChanges(...given),
      listSessions: (...given) => inner.listSessions(...given),
    };
  }
}
