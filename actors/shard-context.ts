/**
 * What the sessions of one shard share under one ownership: its epoch, its source
 * of MsgIDs and the store. Made when the fence was raised, gone with the ownership.
 */

import type { InboxGroup } from "../src/ports/inbox-store.js";
import type { MsgIdSource } from "../src/protocol/msg-id.js";
import type { Shard } from "../src/protocol/shards.js";
import type { PresenceKnown } from "./attach-calls.js";
import type { CommitQueue } from "./commit-queue.js";
import type { GroupGate } from "./group-gate.js";
import type { NodeContext } from "./node-context.js";
import type { ShardChanges } from "./shard-changes.js";

export interface ShardContext {
  readonly node: NodeContext;
  /** Of the node, under which the shard is served. */
  readonly incarnation: string;
  readonly shard: Shard;
  readonly epoch: number;
  readonly ids: MsgIdSource;
  readonly inbox: InboxGroup;
  readonly commits: CommitQueue;
  readonly gate: GroupGate;
  readonly presence: PresenceKnown;
  readonly changes: ShardChanges;
  /** Of all shards of the group since it was made. */
  readonly figures: DeliveryFigures;
}

/** What operators are to see of what was not delivered. */
export interface DeliveryFigures {
  setAside: number;
  /** Dropped by the bound of their inbox. */
  bound: number;
}
