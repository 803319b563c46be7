/** A store in memory that cannot read what it has of one user. */
import { Fault } from "../../src/base/result.js";
import { MemoryInbox } from "../../src/drivers/memory-inbox.js";
import type { InboxGroup } from "../../src/ports/inbox-store.js";
import { sessionKey } from "../../src/protocol/shards.js";

export class CorruptInbox extends MemoryInbox {
  /** As the drivers say it: of a row that does not decode, or of a store that is away. */
  fault: "STORE_CORRUPT" | "STORE_UNAVAILABLE" | undefined = undefined;
  reads = 0;

  constructor(
    groupCount: number,
    private readonly uid: string,
  ) {
    super(groupCount);
  }

  override async openGroup(group: number): Promise<InboxGroup> {
    const opened = await super.openGroup(group);
    const { loadSession } = opened;
    opened.loadSession = async (shard, key) => {
      const isTheirs = key === sessionKey("demo", this.uid);
      if (isTheirs) this.reads++;
      if (isTheirs && this.fault !== undefined) {
        throw new Fault(this.fault, "not-done", "the session's record does not decode");
      }
      return loadSession.call(opened, shard, key);
    };
    return opened;
  }
}
