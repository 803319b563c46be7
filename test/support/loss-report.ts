/** What a loss test says of itself, as JSON. */
import type { FaultDone } from "./loss-faults.js";
import type { Account } from "./loss-judge.js";
import type { LossPush } from "./loss-ledger.js";

export interface LossLatencies {
  /** Of pushes that were accepted, with their repeats. */
  readonly count: number;
  readonly p50Ms: number;
  readonly p90Ms: number;
  readonly p99Ms: number;
  /** The longest outage that a service saw. */
  readonly maxMs: number;
}

export interface LossReport {
  readonly name: string;
  readonly at: string;
  readonly seed: number;
  readonly minutes: number;
  readonly tookMs: number;
  readonly users: number;
  readonly devices: number;
  readonly publishers: readonly string[];
  /** owed = shown + expired + collapsed + setAside + missing; none may be missing. */
  readonly account: Account;
  /** In the inboxes of users who never came, when the faults were over. */
  readonly keptForLate: number;
  readonly latencies: LossLatencies;
  /** In which no push of anybody was accepted. */
  readonly longestSilenceMs: number;
  readonly faultsDone: readonly FaultDone[];
  readonly nodes: { readonly endedByThemselves: number; readonly failedStarts: number };
  readonly faultsFound: readonly string[];
  /** Of messages that are named there, from the delivery journal. */
  readonly paths: readonly unknown[];
  /** When the first of them was seen, from the start; undefined for the final comparison. */
  readonly firstSeenMs: number | undefined;
}

export function reportOf(parts: Omit<LossReport, "at">): LossReport {
  return { at: new Date().toISOString(), ...parts };
}

export function latenciesOf(pushes: readonly LossPush[]): LossLatencies {
  const tookMs = pushes
    .filter(({ outcome }) => outcome?.kind === "ok")
    .map(({ sentMs, endedMs = sentMs }) => endedMs - sentMs)
    .sort((a, b) => a - b);
  const at = (share: number) => rounded(tookMs[Math.floor(share * (tookMs.length - 1))]);
  const count = tookMs.length;
  return { count, p50Ms: at(0.5), p90Ms: at(0.9), p99Ms: at(0.99), maxMs: at(1) };
}

/** In one line, for people. */
export function lineOf({ account, latencies, faultsDone, longestSilenceMs, nodes }: LossReport) {
  const { accepted, owed, shown, expired, collapsed, setAside, missing, unanswered } = account;
  return (
    `${accepted} accepted, ${owed} owed to devices = ${shown} shown + ${expired} expired + ` +
    `${collapsed} collapsed + ${setAside} set aside + ${missing} missing; ${unanswered} unkeyed unanswered; ` +
    `${faultsDone.length} faults, p50 ${latencies.p50Ms} ms, p99 ${latencies.p99Ms} ms, ` +
    `longest ${latencies.maxMs} ms, nobody answered for ${longestSilenceMs} ms; ` +
    `${nodes.endedByThemselves} nodes ended by themselves`
  );
}

function rounded(ms: number | undefined): number {
  return Math.round((ms ?? 0) * 10) / 10;
}
