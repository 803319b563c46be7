/**
 * The judges of a loss test. All are pure, and all but `finalFaults` hold at any moment
 * of a run, so that what goes wrong is seen soon after it went wrong.
 *
 * A push that was accepted may be missing on a device for three reasons only:
 * - collapsed: one of the same user and key was accepted behind it (a higher seq);
 * - expired: its time had passed before the device could have had it. A device gets its
 *   messages in the order of their seqs, so it could have had whatever is below what it
 *   was shown while that one was good for sure (from before the first attempt was sent).
 * - set aside: it was sent to this device so often that a node gave it up, and said so.
 */
import { type LossPush, type LossShown, type LossUser, nameOf } from "./loss-ledger.js";

export type Fate = "shown" | "collapsed" | "expired" | "setAside" | "missing";

export interface Account {
  accepted: number;
  /** Accepted pushes times the devices that they are owed to; what follows adds up to it. */
  owed: number;
  shown: number;
  collapsed: number;
  expired: number;
  setAside: number;
  missing: number;
  /** Given up without an answer, which only pushes without a key are, and shown all the same. */
  unanswered: number;
  unansweredShown: number;
}

/** What is wrong whatever comes next. */
export function faultsSoFar(user: LossUser): string[] {
  const faults = [...unansweredFaults(user), ...positionFaults(user)];
  for (const [device, shown] of user.devices) {
    const name = `${user.uid}/${device}`;
    faults.push(...shownFaults(user, name, shown), ...skippedFaults(user, device, shown));
  }
  return faults;
}

/** When all has come to rest and every inbox is empty: whatever is missing, is lost. */
export function finalFaults(user: LossUser, nowWallMs: number): string[] {
  const faults = user.pushes
    .filter(({ outcome }) => outcome === undefined)
    .map((push) => `${nameOf(push)} to ${user.uid} was never answered`);
  for (const device of user.devices.keys()) {
    const fates = fatesOf(user, device, nowWallMs);
    for (const [push, fate] of fates) {
      if (fate !== "missing") continue;
      faults.push(`LOST: ${told(push)} to ${user.uid} was never shown by ${device}`);
    }
  }
  return faults;
}

export function accountOf(users: Iterable<LossUser>, nowWallMs: number): Account {
  const account: Account = {
    accepted: 0,
    owed: 0,
    shown: 0,
    collapsed: 0,
    expired: 0,
    setAside: 0,
    missing: 0,
    unanswered: 0,
    unansweredShown: 0,
  };
  for (const user of users) {
    account.accepted += user.pushes.filter(isOk).length;
    const unanswered = user.pushes.filter(({ outcome }) => outcome?.kind === "unknown");
    account.unanswered += unanswered.length;
    for (const [device, shown] of user.devices) {
      const names = new Set(shown.map(nameOf));
      account.unansweredShown += unanswered.filter((push) => names.has(nameOf(push))).length;
      for (const fate of fatesOf(user, device, nowWallMs).values()) {
        account.owed++;
        account[fate]++;
      }
    }
  }
  return account;
}

/** What must still be in the inbox of a user of whom no device ever came. */
export function expectedInbox(user: LossUser, nowWallMs: number): number {
  const fates = [...fatesOf(user, undefined, nowWallMs).values()];
  return fates.filter((fate) => fate === "missing").length;
}

/** Of each accepted push, as one device has seen it; as one that never came without one. */
export function fatesOf(
  user: LossUser,
  device: string | undefined,
  nowWallMs: number,
): Map<LossPush, Fate> {
  const names = new Set(user.devices.get(device ?? "")?.map(nameOf));
  const takeSetAside = setAsideOf(user, device);
  const newest = newestByKey(user.pushes);
  const fates = new Map<LossPush, Fate>();
  for (const push of user.pushes) {
    if (!isOk(push)) continue;
    const { collapse, outcome } = push;
    const isReplaced = collapse !== undefined && (newest.get(collapse) ?? 0) > outcome.seq;
    // A push may have been accepted, at the latest, when it was answered.
    const goodUntilMs = (push.endedWallMs ?? 0) + ttlMsOf(push);
    const fate = names.has(nameOf(push))
      ? "shown"
      : isReplaced
        ? "collapsed"
        : goodUntilMs < nowWallMs
          ? "expired"
          : takeSetAside(push)
            ? "setAside"
            : "missing";
    fates.set(push, fate);
  }
  return fates;
}

/** Every keyed push is to be answered at last, and none asks for what may be refused for good. */
function unansweredFaults({ uid, pushes }: LossUser): string[] {
  return pushes.flatMap((push) => {
    const { outcome } = push;
    if (outcome === undefined || outcome.kind === "ok") return [];
    if (!push.isKeyed && outcome.kind === "unknown") return [];
    if (!push.isKeyed && notStoredCodes.has(outcome.why)) return [];
    return [`UNANSWERED: ${nameOf(push)} to ${uid} ended ${outcome.kind}: ${outcome.why}`];
  });
}

/** Refusals after which nothing may ever be shown. */
export const notStoredCodes: ReadonlySet<string> = new Set([
  "NOT_READY",
  "OVERLOADED",
  "KEYS_FULL",
  "INBOX_FULL",
]);

/** A seq and a MsgID are given once, and a publisher's pushes in the order in which it sent. */
function positionFaults({ uid, pushes }: LossUser): string[] {
  const faults: string[] = [];
  const bySeq = new Map<number, LossPush>();
  const byId = new Map<string, LossPush>();
  const lastOf = new Map<string, number>();
  for (const push of pushes) {
    if (!isOk(push)) continue;
    const { seq, id } = push.outcome;
    const twin = bySeq.get(seq) ?? byId.get(id);
    if (twin !== undefined) {
      faults.push(`GIVEN TWICE: ${told(push)} to ${uid} has the place of ${told(twin)}`);
    }
    bySeq.set(seq, push);
    byId.set(id, push);
    const before = lastOf.get(push.publisher) ?? 0;
    if (seq < before) faults.push(`ORDER: ${told(push)} to ${uid} came before seq ${before}`);
    lastOf.set(push.publisher, Math.max(before, seq));
  }
  return faults;
}

function shownFaults(user: LossUser, name: string, shown: readonly LossShown[]): string[] {
  const faults: string[] = [];
  const sent = new Map(user.pushes.map((push) => [nameOf(push), push]));
  const before = new Map<string, LossShown>();
  let last = 0;
  for (const each of shown) {
    const twin = before.get(nameOf(each));
    if (twin !== undefined) {
      faults.push(`TWICE: ${name} showed ${nameOf(each)} as ${twin.id} and as ${each.id}`);
    }
    before.set(nameOf(each), each);
    if (each.seq <= last) {
      faults.push(`ORDER: ${name} showed ${nameOf(each)}, seq ${each.seq}, after seq ${last}`);
    }
    last = Math.max(last, each.seq);
    const push = sent.get(nameOf(each));
    const strange = push === undefined ? "nobody sent it" : strangeness(push, each);
    if (strange !== undefined) {
      faults.push(`STRANGE: ${name} showed ${nameOf(each)} as ${each.id}, but ${strange}`);
    }
  }
  return faults;
}

function strangeness({ outcome }: LossPush, shown: LossShown): string | undefined {
  if (outcome?.kind === "refused") return `it was refused: ${outcome.why}`;
  if (outcome?.kind !== "ok") return undefined;
  const isSame = outcome.id === shown.id && outcome.seq === shown.seq;
  return isSame ? undefined : `it was answered as ${outcome.id}, seq ${outcome.seq}`;
}

/**
 * Whether the device was spared the push. Who publishes on a lane is told no MsgID: there
 * as many may be missing as were set aside.
 */
function setAsideOf(user: LossUser, device: string | undefined): (push: OkPush) => boolean {
  const ids = user.setAside.get(device ?? "") ?? new Set();
  let left = ids.size;
  if (user.way === "lane") return () => left-- > 0;
  return ({ outcome }) => ids.has(outcome.id);
}

/** Behind what the device was shown, and neither shown nor with a reason to be missing. */
function skippedFaults(user: LossUser, device: string, shown: readonly LossShown[]): string[] {
  const takeSetAside = setAsideOf(user, device);
  const names = new Set(shown.map(nameOf));
  const newest = newestByKey(user.pushes);
  const faults: string[] = [];
  const highest = shown.reduce((seq, each) => Math.max(seq, each.seq), 0);
  for (const push of user.pushes) {
    if (!isOk(push) || push.outcome.seq >= highest || names.has(nameOf(push))) continue;
    const { collapse, outcome } = push;
    // What replaces it may be stored and not answered yet.
    const mayBeReplaced =
      collapse !== undefined &&
      ((newest.get(collapse) ?? 0) > outcome.seq ||
        user.pushes.some((other) => other.collapse === collapse && other.outcome === undefined));
    if (mayBeReplaced || mayHaveExpired(push, shown) || takeSetAside(push)) continue;
    faults.push(`SKIPPED: ${user.uid}/${device} went past ${told(push)} to seq ${highest}`);
  }
  return faults;
}

/** No later message was shown while this one was good for sure. */
function mayHaveExpired(push: LossPush, shown: readonly LossShown[]): boolean {
  if (push.ttlSeconds === undefined || push.outcome?.kind !== "ok") return false;
  const { seq } = push.outcome;
  const goodUntilMs = push.sentWallMs + ttlMsOf(push);
  return !shown.some((each) => each.seq > seq && each.wallMs < goodUntilMs);
}

/** The highest seq of each collapse key. */
function newestByKey(pushes: readonly LossPush[]): Map<string, number> {
  const newest = new Map<string, number>();
  for (const push of pushes) {
    const { collapse } = push;
    if (!isOk(push) || collapse === undefined) continue;
    newest.set(collapse, Math.max(newest.get(collapse) ?? 0, push.outcome.seq));
  }
  return newest;
}

type OkPush = LossPush & { readonly outcome: { kind: "ok"; id: string; seq: number } };

function isOk(push: LossPush): push is OkPush {
  return push.outcome?.kind === "ok";
}

function ttlMsOf({ ttlSeconds }: LossPush): number {
  return ttlSeconds === undefined ? Number.POSITIVE_INFINITY : ttlSeconds * 1_000;
}

function told(push: LossPush): string {
  const { outcome, collapse, ttlSeconds } = push;
  const place = outcome?.kind === "ok" ? `, seq ${outcome.seq}, ${outcome.id}` : "";
  const key = collapse === undefined ? "" : `, collapse ${collapse}`;
  const ttl = ttlSeconds === undefined ? "" : `, ttl ${ttlSeconds} s`;
  return `${nameOf(push)} (sent at ${push.sentMs.toFixed(0)} ms${place}${key}${ttl})`;
}
