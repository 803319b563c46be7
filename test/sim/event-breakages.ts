/** Breakages of what services are told: a position that does not wait, an event that is not repeated. */
import { ChangePublisher } from "../../actors/change-publisher.js";
import { ShardChanges } from "../../actors/shard-changes.js";
import type { Shard } from "../../src/protocol/shards.js";
import { type Breakage, patch } from "./breakage.js";

interface InnerChanges {
  last: number;
  stored: number;
}

interface InnerPublisher {
  onPublished(shard: Shard): void;
}

export const eventBreakages: readonly Breakage[] = [
  {
    name: "trim-before-told",
    invariants: [2],
    faults: ["kill"],
    seedsMax: 4,
    apply: () =>
      patch<(this: InnerChanges, nowMs: number) => number | undefined>(
        ShardChanges.prototype,
        "positionDue",
        () =>
          function (this: InnerChanges) {
            return this.last > this.stored ? this.last : undefined;
          },
      ),
  },
  {
    name: "untold-not-repeated",
    invariants: [2],
    faults: ["kill"],
    seedsMax: 4,
    apply: () =>
      patch<(this: InnerPublisher, failed: { shard: Shard }) => void>(
        ChangePublisher.prototype,
        "onFailed",
        () =>
          function (this: InnerPublisher, { shard }) {
            this.onPublished(shard);
          },
      ),
  },
];
