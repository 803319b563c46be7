/** What a loss test says of itself, as JSON. */
import type { FaultDone } from "./loss-faults.js";
import type { Account } from "./loss-judge.js";
import { type LossUser, nameOf } from "./loss-ledger.js";

const slowestMax = 20;

export interface LossLatencies {
  /** Of pushes that were accepted, with their repeats. */
  readonly count: number;
  readonly p50Ms: number;
  readonly p90Ms: number;
  readonly p99Ms: number;
  /** The longest outage that a service saw. */
  readonly maxMs: number;
  /** Which took longest, with their repeats. */
  readonly slowest: readonly string[];
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

export function latenciesOf(users: Iterable<LossUser>): LossLatencies {
  const taken = [...users].flatMap(({ uid, pushes }) =>
    pushes
      .filter(({ outcome }) => outcome?.kind === "ok")
      .map((push) => ({ uid, push, tookMs: (push.endedMs ?? push.sentMs) - push.sentMs })),
  );
  taken.sort((a, b) => a.tookMs - b.tookMs);
  const tookMs = taken.map((each) => each.tookMs);
  const slowest = taken
    .slice(-slowestMax)
    .map(
      ({ uid, push, tookMs: ms }) =>
        `${nameOf(push)} to ${uid}, sent at ${push.sentMs.toFixed(0)} ms, took ${ms.toFixed(0)} ms`,
    );
  const at = (share: number) => rounded(tookMs[Math.floor(share * (tookMs.length - 1))]);
  const count = tookMs.length;
  return { count, p50Ms: at(0.5), p90Ms: at(0.9), p99Ms: at(0.99), maxMs: at(1), slowest };
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
