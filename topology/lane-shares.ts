/**
 * How lanes share what may be in flight: weighted, and what one does not want is the
 * others'. Pure.
 */

export interface LaneDemand {
  readonly weight: number;
  /** What it could have in flight now, by what waits in it and by its own bound. */
  readonly wanted: number;
}

/**
 * What each may have in flight, in the order of the demands: never more than it wants, at
 * least one where it wants any, and else no more than `limit` together, by weight.
 */
export function shareOut(limit: number, demands: readonly LaneDemand[]): number[] {
  const shares = demands.map(() => 0);
  let open = demands.map((_, at) => at).filter((at) => (demands[at]?.wanted ?? 0) > 0);
  let left = limit;
  // Each round satisfies somebody or ends.
  while (open.length > 0) {
    const weights = open.reduce((sum, at) => sum + (demands[at]?.weight ?? 0), 0);
    const perWeight = Math.max(0, left) / weights;
    const isModest = (at: number) =>
      (demands[at]?.wanted ?? 0) <= perWeight * (demands[at]?.weight ?? 0);
    const modest = open.filter(isModest);
    if (modest.length === 0) {
      for (const at of open) {
        shares[at] = Math.max(1, Math.floor(perWeight * (demands[at]?.weight ?? 0)));
      }
      break;
    }
    for (const at of modest) {
      shares[at] = demands[at]?.wanted ?? 0;
      left -= shares[at] ?? 0;
    }
    open = open.filter((at) => !isModest(at));
  }
  return shares;
}
