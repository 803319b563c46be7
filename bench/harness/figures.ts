/** The figures of a bench and what their spread says; pure. */

export type Better = "higher" | "lower";

export interface Figure {
  readonly value: number;
  readonly unit: string;
  readonly better: Better;
  readonly goal?: number;
  /** What each run gave; the value is their median. */
  readonly runs?: readonly number[];
}

export interface FigureShape {
  readonly unit: string;
  readonly better: Better;
  readonly goal?: number;
}

/** The middle one; the mean of both where there are two. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] ?? Number.NaN;
  if (sorted.length % 2 === 1) return upper;
  return ((sorted[middle - 1] ?? Number.NaN) + upper) / 2;
}

export function figureOf(value: number, shape: FigureShape): Figure {
  return { value: rounded(value), ...shape };
}

/** The median of several runs, which are kept beside it. */
export function medianOf(runs: readonly number[], shape: FigureShape): Figure {
  return { value: rounded(median(runs)), ...shape, runs: runs.map(rounded) };
}

/** The median of `ours[i] / theirs[i]`: only what ran side by side is compared. */
export function ratioOf(
  ours: readonly number[],
  theirs: readonly number[],
  shape: Omit<FigureShape, "unit">,
): Figure {
  const runs = ours.map((value, at) => value / (theirs[at] ?? Number.NaN));
  return medianOf(runs, { unit: "ratio", ...shape });
}

/** Undefined without a goal. */
export function meetsGoal({ value, better, goal }: Figure): boolean | undefined {
  if (goal === undefined) return undefined;
  return better === "higher" ? value >= goal : value <= goal;
}

/** What one more of `x` costs: the rise between the first and the last point. */
export function slope(points: readonly { readonly x: number; readonly y: number }[]): number {
  const first = points[0];
  const last = points.at(-1);
  if (first === undefined || last === undefined || first.x === last.x) return Number.NaN;
  return (last.y - first.y) / (last.x - first.x);
}

/** Four significant digits: what is behind them is the machine's noise. */
export function rounded(value: number): number {
  return Number.isFinite(value) ? Number(value.toPrecision(4)) : value;
}

/** One line a figure: value, goal, and the median, least and most of its runs. */
export function tableOf(figures: Readonly<Record<string, Figure>>): string {
  const rows = Object.entries(figures).map(([name, figure]) => rowOf(name, figure));
  return aligned([["figure", "value", "unit", "goal", "runs: min … max", "spread"], ...rows]);
}

function rowOf(name: string, figure: Figure): string[] {
  const { value, unit, better, goal, runs } = figure;
  const verdict = meetsGoal(figure);
  const sign = better === "higher" ? "≥" : "≤";
  const goalText =
    goal === undefined ? "" : `${sign} ${goal} ${verdict === true ? "met" : "MISSED"}`;
  if (runs === undefined || runs.length < 2) return [name, shown(value), unit, goalText, "", ""];
  const [least, most] = [Math.min(...runs), Math.max(...runs)];
  const spread = `${(((most - least) / value) * 100).toFixed(0)} %`;
  return [name, shown(value), unit, goalText, `${shown(least)} … ${shown(most)}`, spread];
}

export function aligned(rows: readonly (readonly string[])[]): string {
  const widths: number[] = [];
  for (const row of rows) {
    for (const [at, cell] of row.entries()) widths[at] = Math.max(widths[at] ?? 0, cell.length);
  }
  const lines = rows.map((row) => row.map((cell, at) => cell.padEnd(widths[at] ?? 0)).join("  "));
  return lines.map((line) => line.trimEnd()).join("\n");
}

export function shown(value: number): string {
  return Math.abs(value) >= 1_000 ? Math.round(value).toLocaleString("en-US") : String(value);
}
