/**
 * Which unit should go from which node to which, to even them out: by number for
 * newcomers, by measured weight under a margin. Pure.
 *
 * Both rules only ever take a unit from a node to one that stays lighter than the
 * first was. So each lessens the sum of the squares of the nodes' weights: with loads
 * that stand still no sequence of moves comes back to where it was.
 */
import type { Candidate, Scales, Unit } from "./units.js";

export interface BalanceMove {
  readonly unit: Unit;
  readonly from: Candidate;
  readonly to: Candidate;
  readonly reason: string;
}

/** When weights are uneven enough to be worth a move. */
export interface LoadRule {
  /** Only from nodes that weigh so much above the mean, as a share of it. */
  readonly overMean: number;
  /** The heavier of the two becomes lighter by at least this share of what the unit weighs. */
  readonly gainShare: number;
}

/**
 * By itself. With a gain of half a unit's weight, the same unit would come back only
 * after the loads of the two nodes had shifted by its whole weight.
 */
export const automaticRule: LoadRule = { overMean: 0.15, gainShare: 0.5 };
/** For operators who ask for more. */
export const operatorRule: LoadRule = { overMean: 0.02, gainShare: 0.1 };

/** From whom has the most units to whom has at least two fewer, unless it carries as much by load. */
export function nextCountMove(
  units: readonly Unit[],
  takers: readonly Candidate[],
  scales: Scales,
): BalanceMove | undefined {
  const from = most(takers, (member) => scales.countOf(member), scales);
  const receivers = takers.filter((member) => scales.countOf(member) <= scales.countOf(from) - 2);
  const best = bestOf(units, from, receivers, scales);
  if (best === undefined || best.gain <= 0) return undefined;
  const to = scales.lightest(best.unit, receivers);
  const [more, fewer] = [scales.countOf(from), scales.countOf(to)];
  return { unit: best.unit, from, to, reason: `balance: ${more} units and ${fewer}` };
}

export function nextLoadMove(
  units: readonly Unit[],
  takers: readonly Candidate[],
  scales: Scales,
  rule: LoadRule,
): BalanceMove | undefined {
  const total = takers.reduce((sum, member) => sum + scales.weightOf(member), 0);
  const boundary = (total / takers.length) * (1 + rule.overMean);
  const heavy = takers
    .filter((member) => scales.weightOf(member) > boundary)
    .sort((a, b) => scales.weightOf(b) - scales.weightOf(a));
  for (const from of heavy) {
    const best = bestOf(units, from, takers, scales);
    if (best === undefined || best.gain < best.unit.weight * rule.gainShare) continue;
    const { unit } = best;
    const to = scales.lightest(unit, takers);
    const [was, is] = [scales.weightOf(from), scales.weightOf(to)];
    const shown = [was, is, was - unit.weight, is + unit.weight].map((one) => one.toFixed(1));
    const reason = `load: ${shown[0]} and ${shown[1]} become ${shown[2]} and ${shown[3]}`;
    return { unit, from, to, reason };
  }
  return undefined;
}

/** The unit of `from` by which the heavier of the two becomes lightest. */
function bestOf(
  units: readonly Unit[],
  from: Candidate,
  receivers: readonly Candidate[],
  scales: Scales,
): { readonly unit: Unit; readonly gain: number } | undefined {
  const least = Math.min(...receivers.map((member) => scales.weightOf(member)));
  const was = scales.weightOf(from);
  let best: { unit: Unit; gain: number } | undefined;
  for (const unit of units) {
    if (unit.owner !== from || unit.isMoving) continue;
    const gain = was - Math.max(was - unit.weight, least + unit.weight);
    if (best === undefined || gain > best.gain) best = { unit, gain };
  }
  return best;
}

function most(
  members: readonly Candidate[],
  figure: (member: Candidate) => number,
  scales: Scales,
): Candidate {
  return members.reduce((best, member) => {
    const more = figure(member) - figure(best);
    return (more || scales.weightOf(member) - scales.weightOf(best)) > 0 ? member : best;
  });
}
