/** How wide the partitions of one take are, and which order to the lane is under way. */
import { nextWindow, type WindowRules } from "../topology/lane-window.js";

export class LaneWindows {
  private readonly widths = new Map<number, number>();
  private readonly ordered = new Set<number>();

  constructor(
    private readonly partitions: readonly number[],
    private readonly rules: WindowRules,
  ) {}

  /** What is to be ordered now, for what is set apart in each; `settle` is to follow. */
  due(apartOf: (partition: number) => number): (readonly [partition: number, window: number])[] {
    const orders: (readonly [number, number])[] = [];
    for (const partition of this.partitions) {
      if (this.ordered.has(partition)) continue;
      const current = this.widths.get(partition) ?? this.rules.min;
      const window = nextWindow(current, apartOf(partition), this.rules);
      if (window === current) continue;
      this.ordered.add(partition);
      orders.push([partition, window]);
    }
    return orders;
  }

  /** `window` is undefined where the order failed: it is given again. */
  settle(partition: number, window: number | undefined): void {
    this.ordered.delete(partition);
    if (window !== undefined) this.widths.set(partition, window);
  }
}
