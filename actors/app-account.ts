/**
 * What one app does on this node, against what it may: pushes accepted and refused, by
 * reason, and the bucket of its share of the app's limits.
 */
import type { Rate } from "../src/base/token-bucket.js";
import type { AppRecord } from "../src/protocol/app-record.js";
import type { ErrorCode } from "../src/protocol/errors.js";
import type { InboxTotals } from "./inbox-usage.js";
import type { Limits } from "./limits.js";
import { PushRequest } from "./push-request.js";

/** What services ask for at a user's door, each with limits of its own. */
export const operations = ["push", "inbox"] as const;
export type Operation = (typeof operations)[number];

/** A user's bucket holds what its rate gives in so long, an app's what it gives in one second. */
const userBurstSeconds = 2;
const rateWindowMs = 10_000;

/** Of one operation; an absent rate is no limit. */
interface OperationRates {
  app: Rate | undefined;
  user: Rate;
  appFullAtMs: number;
}

export class AppAccount {
  /** For all its plain publishes: they are counted, and nobody is answered. */
  readonly plain = new PushRequest("", "json", 0, "", 0);
  private readonly rates: Record<Operation, OperationRates>;
  private record: AppRecord | undefined = undefined;
  private share = 0;
  private accepted = 0;
  private readonly refused = new Map<ErrorCode, number>();
  private sampled = { accepted: 0, refused: 0 };
  private perSecond = { accepted: 0, refused: 0 };
  /** This node's share of the app's quota is used up. */
  isInboxFull = false;

  constructor(
    readonly app: string,
    private readonly limits: Limits,
  ) {
    this.plain.claim = (code) => this.note(code);
    const user = { perSecond: 0, burst: 1 };
    this.rates = {
      push: { app: undefined, user, appFullAtMs: 0 },
      inbox: { app: undefined, user, appFullAtMs: 0 },
    };
  }

  /** `share`: of the IDC's shards, those that this node has; 0 to 1. */
  follow(record: AppRecord | undefined, share: number): void {
    if (record === this.record && share === this.share) return;
    this.record = record;
    this.share = share;
    const { userPushesPerSecond, userInboxOpsPerSecond, appInboxOpsPerSecond } = this.limits;
    const { pushesPerSecond, pushesPerSecondPerUser = userPushesPerSecond } = record?.limits ?? {};
    const { push, inbox } = this.rates;
    push.app = pushesPerSecond === undefined ? undefined : rateOf(pushesPerSecond * share, 1);
    push.user = rateOf(Math.min(pushesPerSecondPerUser, userPushesPerSecond), userBurstSeconds);
    inbox.app = rateOf(appInboxOpsPerSecond * share, 1);
    inbox.user = rateOf(userInboxOpsPerSecond, userBurstSeconds);
  }

  ratesOf(operation: Operation): OperationRates {
    return this.rates[operation];
  }

  note(code: ErrorCode | undefined): true {
    if (code === undefined) this.accepted++;
    else this.refused.set(code, (this.refused.get(code) ?? 0) + 1);
    return true;
  }

  /** Of the node's shards, against the node's share. */
  noteInbox(totals: InboxTotals | undefined): void {
    const quota = this.record?.limits?.inboxBytes;
    this.isInboxFull = quota !== undefined && (totals?.bytes ?? 0) >= quota * this.share;
  }

  /** Smooths what was counted since `elapsedMs` ago. */
  sample(elapsedMs: number): void {
    const now = { accepted: this.accepted, refused: this.refusedCount };
    const weight = 1 - Math.exp(-elapsedMs / rateWindowMs);
    for (const field of ["accepted", "refused"] as const) {
      const perSecond = ((now[field] - this.sampled[field]) * 1_000) / elapsedMs;
      this.perSecond[field] += weight * (perSecond - this.perSecond[field]);
    }
    this.sampled = now;
  }

  private get refusedCount(): number {
    let sum = 0;
    for (const count of this.refused.values()) sum += count;
    return sum;
  }

  /** Since the node's shards were started. */
  get figures() {
    return {
      accepted: this.accepted,
      refused: Object.fromEntries(this.refused),
      acceptedPerSecond: Math.round(this.perSecond.accepted * 10) / 10,
      refusedPerSecond: Math.round(this.perSecond.refused * 10) / 10,
    };
  }
}

function rateOf(perSecond: number, burstSeconds: number): Rate {
  return { perSecond, burst: Math.max(1, perSecond * burstSeconds) };
}
