/**
 * The leader's hand on the placement table: reads it, changes it, writes it.
 *
 * Invariant: it is written only before the leader's deadline, by a compare-and-set on the
 * revision that was read, and no epoch below one that was ever seen.
 */
import { randomToken } from "../src/base/random.js";
import { PlacementTable } from "../topology/placement-table.js";
import type { Decisions } from "./decisions.js";
import type { Leadership } from "./leadership.js";
import { tableKey } from "./membership.js";
import type { NodeContext } from "./node-context.js";

/**
 * What became of a change of the table. `not written`: somebody else was faster, or this
 * node may not write; the next tick reads again, and learns whether it still leads.
 */
export type TableChange = "written" | "unchanged" | "not written";

export class TableWriter {
  constructor(
    private readonly node: NodeContext,
    private readonly leadership: Leadership,
    private readonly decisions: Decisions,
  ) {}

  async change(change: (table: PlacementTable) => PlacementTable): Promise<TableChange> {
    const leading = this.leadership.current;
    if (leading === undefined) return "not written";
    const { placement, clock, limits, random, log, view } = this.node;
    const isSettling = clock.monotonicMs() - leading.sinceMs < limits.settleMs;
    const entry = await placement.get(tableKey);
    if (entry === undefined && isSettling && view.nodes.size < 2) return "not written";
    const read = entry === undefined ? undefined : PlacementTable.decode(entry.value);
    if (read !== undefined && !read.ok) {
      // Told by the membership, too, but once.
      if (!view.unreadable.has(tableKey)) {
        log.error("the table is not readable", { code: read.code });
      }
      return "not written";
    }
    const stored = read?.value ?? PlacementTable.empty();
    const { floor } = view;
    // A bucket that was rolled back says less than was seen: nobody's epoch is given twice.
    const table = floor.lift(stored);
    if (table !== stored) this.decisions.note("finds that the table was rolled back");
    if (table.masterEpoch > leading.epoch) {
      this.leadership.stepDown("the table was written under a higher epoch");
      return "not written";
    }
    const changed = change(table);
    if (changed === stored && leading.hasWrittenTable) return "unchanged";
    const bytes = changed.writtenBy(leading.epoch, randomToken(random, 12)).encode();
    if (clock.monotonicMs() >= leading.deadlineMs) return "not written";
    const written =
      entry === undefined
        ? await placement.create(tableKey, bytes)
        : await placement.update(tableKey, bytes, entry.revision);
    if (!written.ok) return "not written";
    leading.hasWrittenTable = true;
    floor.note(changed);
    return "written";
  }
}
