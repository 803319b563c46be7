/**
 * How a group stops without losing what is in its mailboxes: one message follows the
 * last push through all of them.
 *
 *   intake ──Freeze──▶ group ──Freeze──▶ shards ──Freeze──▶ sessions, which leave
 *                        ▲                  │               when all is on disk
 *   host ◀──GroupDrained─┘◀──ShardFrozen────┘
 *
 * Told again until all have left: it changes nothing the second time.
 */
import type { Shard } from "../src/protocol/shards.js";

export interface Freeze {
  readonly kind: "Freeze";
}

/** To the group: no session is left, and none will be made. */
export interface ShardFrozen {
  readonly kind: "ShardFrozen";
  readonly shard: Shard;
}

/** To the host: it may stop the group. */
export interface GroupDrained {
  readonly kind: "GroupDrained";
  readonly group: number;
}
