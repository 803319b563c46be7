/**
 * Since when each unit is on the move, as the leader has seen it by its own clock. A
 * new owner that keeps its lease and never serves would otherwise hold a unit for ever.
 */
import { type Shard, shardCount } from "../src/protocol/shards.js";
import type { PlacementTable } from "./placement-table.js";

interface OpenMove {
  readonly epoch: number;
  readonly sinceMs: number;
}

export class OpenMoves {
  private readonly moves = new Map<number, OpenMove>();

  constructor(private readonly unitSize: number) {}

  /** Looks at the table as it is now; a unit under another epoch is another move. */
  note(table: PlacementTable, nowMs: number): void {
    for (let unit = 0; unit < shardCount / this.unitSize; unit++) {
      const shard = unit as Shard;
      const epoch = table.epochOf(shard);
      if (table.stateOf(shard) !== "moving") this.moves.delete(unit);
      else if (this.moves.get(unit)?.epoch !== epoch) {
        this.moves.set(unit, { epoch, sinceMs: nowMs });
      }
    }
  }

  /** The epoch of each move that has been open for `boundMs`. */
  overdue(nowMs: number, boundMs: number): Map<number, number> {
    const overdue = new Map<number, number>();
    for (const [unit, { epoch, sinceMs }] of this.moves) {
      if (nowMs - sinceMs >= boundMs) overdue.set(unit, epoch);
    }
    return overdue;
  }

  /** For how long it has been on the move; undefined when it is not. */
  openForMs(unit: number, nowMs: number): number | undefined {
    const move = this.moves.get(unit);
    return move && nowMs - move.sinceMs;
  }
}
