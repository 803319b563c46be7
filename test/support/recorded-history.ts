/**
 * What publishers sent, what they were answered and what devices showed, seen from
 * outside by the publishers' own numbers; and what of DESIGN §10's invariants can be
 * judged by that alone. The judges are pure: a history goes in, sentences come out.
 *
 * The simulator's history (test/sim/history.ts) also sees the store, and judges each
 * step as it happens; real processes can only be judged by what they said.
 */

/**
 * ok: answered so. refused: for good. unknown: given up without an answer, it may come
 * or not. A plain publish is never answered.
 */
export type Outcome = "ok" | "refused" | "unknown";

export interface Push {
  readonly publisher: string;
  readonly uid: string;
  /** 1, 2, 3… of this publisher to this user; the next one only after this has ended. */
  readonly number: number;
  readonly kind: "request" | "plain";
  readonly sentMs: number;
  endedMs?: number;
  outcome?: Outcome;
  /** The MsgID that it was answered. */
  id?: string;
  /** What a refusal or a failure said. */
  why?: string;
}

export interface Shown {
  readonly publisher: string;
  readonly number: number;
  readonly id: string;
  readonly atMs: number;
}

export interface Body {
  readonly publisher: string;
  readonly number: number;
}

export class RecordedHistory {
  readonly pushes: Push[] = [];
  /** By uid, then by device. */
  readonly shown = new Map<string, Map<string, Shown[]>>();

  notePush(push: Push): Push {
    this.pushes.push(push);
    return push;
  }

  /** From now on all that is answered ok must come to this device. */
  addDevice(uid: string, device: string): void {
    const devices = this.shown.get(uid) ?? new Map<string, Shown[]>();
    this.shown.set(uid, devices.set(device, devices.get(device) ?? []));
  }

  noteShown(uid: string, device: string, shown: Shown): void {
    this.addDevice(uid, device);
    this.shown.get(uid)?.get(device)?.push(shown);
  }
}

/** All of it in one: empty when the history is as it must be once all has come to rest. */
export function faultsOf(history: RecordedHistory): string[] {
  return [
    ...unendedRequests(history),
    ...refusedRequests(history),
    ...lostPushes(history),
    ...doubledPushes(history),
    ...strangePushes(history),
    ...disorderedPushes(history),
  ];
}

/** Invariant 5. */
export function unendedRequests({ pushes }: RecordedHistory): string[] {
  return pushes
    .filter(({ kind, outcome }) => kind === "request" && outcome === undefined)
    .map((push) => `${nameOf(push)} was never answered`);
}

/** The load asks for nothing that may be refused for good. */
export function refusedRequests({ pushes }: RecordedHistory): string[] {
  return pushes
    .filter(({ outcome }) => outcome === "refused")
    .map((push) => `${nameOf(push)} was refused: ${push.why}`);
}

/** Invariant 2: answered ok and not shown by a device of that user. */
export function lostPushes(history: RecordedHistory): string[] {
  const lost: string[] = [];
  for (const [uid, devices] of history.shown) {
    const accepted = history.pushes.filter((push) => push.uid === uid && push.outcome === "ok");
    for (const [device, shown] of devices) {
      const seen = new Set(shown.map(keyOf));
      for (const push of accepted) {
        if (seen.has(keyOf(push))) continue;
        lost.push(`${nameOf(push)} was answered ok (${push.id}), and ${device} never showed it`);
      }
    }
  }
  return lost;
}

/** Invariant 3: one push shown under two MsgIDs, which a client cannot tell from two pushes. */
export function doubledPushes(history: RecordedHistory): string[] {
  const doubled: string[] = [];
  for (const [uid, device, shown] of devicesOf(history)) {
    const ids = new Map<string, string>();
    for (const { publisher, number, id } of withoutRepeats(shown)) {
      const key = keyOf({ publisher, number });
      const before = ids.get(key);
      if (before === undefined) ids.set(key, id);
      else doubled.push(`${device} of ${uid} showed ${key} twice, as ${before} and as ${id}`);
    }
  }
  return doubled;
}

/** Shown and never sent to that user, or under another MsgID than the answered one. */
export function strangePushes(history: RecordedHistory): string[] {
  const sent = new Map(history.pushes.map((push) => [`${push.uid} ${keyOf(push)}`, push]));
  const strange: string[] = [];
  for (const [uid, device, shown] of devicesOf(history)) {
    for (const each of shown) {
      const push = sent.get(`${uid} ${keyOf(each)}`);
      const isAnswered = push?.id === undefined || push.id === each.id;
      if (push !== undefined && isAnswered) continue;
      const answered = push === undefined ? "which nobody sent" : `which was answered ${push.id}`;
      strange.push(`${device} of ${uid} showed ${keyOf(each)} as ${each.id}, ${answered}`);
    }
  }
  return strange;
}

/**
 * Invariant 3: what a publisher sent one after the other stands in that order. A request
 * that was given up may have taken effect at any later time, so only those answered ok
 * count, and plain publishes.
 */
export function disorderedPushes(history: RecordedHistory): string[] {
  const counts = new Set(
    history.pushes
      .filter(({ kind, outcome }) => kind === "plain" || outcome === "ok")
      .map((push) => `${push.uid} ${keyOf(push)}`),
  );
  const disordered: string[] = [];
  for (const [uid, device, shown] of devicesOf(history)) {
    const last = new Map<string, number>();
    for (const { publisher, number } of withoutRepeats(shown)) {
      const key = keyOf({ publisher, number });
      if (!counts.has(`${uid} ${key}`)) continue;
      const before = last.get(publisher) ?? 0;
      if (number < before) {
        disordered.push(`${device} of ${uid} showed ${key} after #${before}`);
      }
      last.set(publisher, Math.max(before, number));
    }
  }
  return disordered;
}

/** Pushes by their outcome, and the longest that a request took. */
export function summaryOf({ pushes }: RecordedHistory): string {
  const requests = pushes.filter(({ kind }) => kind === "request");
  const isOk = (push: Push) => push.outcome === "ok";
  const tookMs = requests.map(({ sentMs, endedMs }) => (endedMs ?? sentMs) - sentMs);
  const longestMs = tookMs.reduce((longest, ms) => Math.max(longest, ms), 0);
  return (
    `${requests.length} requests, ${requests.filter(isOk).length} of them ok, ` +
    `${pushes.length - requests.length} plain publishes; ` +
    `the longest request took ${longestMs.toFixed(0)} ms with its repeats`
  );
}

function* devicesOf({ shown }: RecordedHistory): Iterable<[string, string, readonly Shown[]]> {
  for (const [uid, devices] of shown) {
    for (const [device, list] of devices) yield [uid, device, list];
  }
}

/** As a client de-duplicates: by MsgID. */
function withoutRepeats(shown: readonly Shown[]): Shown[] {
  const ids = new Set<string>();
  return shown.filter(({ id }) => !ids.has(id) && ids.add(id));
}

function keyOf({ publisher, number }: Body): string {
  return `${publisher}#${number}`;
}

function nameOf(push: Push): string {
  return `${keyOf(push)} to ${push.uid}`;
}
