/**
 * How far devices' cursors may go, by what they were sent and have shown: invariants 2
 * and 4 of DESIGN §10 on one session, checked at each of its writes.
 */
import type { DeviceRecord, DropReason } from "../../src/ports/inbox-store.js";
import type { SessionKey } from "../../src/protocol/shards.js";
import type { DeviceHistories } from "./device-histories.js";
import type { Payload } from "./payload.js";
import type { World } from "./world.js";

export interface Entry {
  readonly seq: number;
  readonly id: string;
  /** Absent for one that was collapsed before it reached the disk. */
  readonly payload: Payload | undefined;
  readonly expiresAtMs: number;
  readonly collapse: string | undefined;
  /** The only device that it is for. */
  readonly target: string | undefined;
  dropped: DropReason | "erased" | undefined;
  /** Devices whose cursor went over it unacked. */
  readonly passedOver: Set<string>;
}

export interface SessionHistory {
  /** Since the user was last erased. */
  entries: Map<number, Entry>;
  erasures: number;
  lastSeq: number;
  lastId: string;
  /** As the store holds them. */
  devices: readonly DeviceRecord[];
}

export interface HistoryRules {
  readonly policyOf: (key: SessionKey) => "each-device" | "first-ack";
  /** The latest that any node's clock has shown. */
  readonly latestWallMs: () => number;
  readonly attemptsMax: number;
  readonly setAsideMax: number;
}

/** While the store stalls. */
const attemptsInFlight = 3;

export class CursorChecks {
  constructor(
    private readonly world: World,
    private readonly rules: HistoryRules,
    private readonly devices: DeviceHistories,
  ) {}

  /** Invariant 4: nothing is trimmed that no device was sent and acked. */
  checkTrimmed(
    key: SessionKey,
    session: SessionHistory,
    present: ReadonlySet<string>,
    entry: Entry,
  ): void {
    if (entry.expiresAtMs <= this.rules.latestWallMs()) return;
    const meant = session.devices.filter(
      ({ id }) => present.has(id) && isFor(entry, id) && !entry.passedOver.has(id),
    );
    const shown = meant.filter(({ id }) => this.hasShown(key, id, entry));
    const isAllowed =
      shown.length > 0 &&
      (this.rules.policyOf(key) === "first-ack" || shown.length === meant.length);
    this.world.check(isAllowed, 4, () => {
      const missing = meant.filter(({ id }) => !this.hasShown(key, id, entry));
      const names = missing.map(({ id }) => id).join(", ");
      return `${key} ${entry.seq} was trimmed as acked, and never shown by ${names || "anybody"}`;
    });
  }

  /** Invariant 4: a cursor passes no live entry that its device has not shown, nor the last. */
  checkCursors(key: SessionKey, session: SessionHistory): void {
    const wallMs = this.rules.latestWallMs();
    for (const { id, ackedSeq } of session.devices) {
      const { lastSeq } = session;
      this.world.check(
        ackedSeq <= lastSeq,
        4,
        () => `${key} ${id}'s cursor is at ${ackedSeq}, and the last is ${lastSeq}`,
      );
      for (const entry of session.entries.values()) {
        if (entry.seq > ackedSeq || entry.dropped !== undefined || !isFor(entry, id)) continue;
        const isSeen =
          entry.expiresAtMs <= wallMs || entry.passedOver.has(id) || this.hasShown(key, id, entry);
        this.world.check(
          isSeen,
          4,
          () => `${key} ${id}'s cursor is at ${ackedSeq}, and it never showed ${entry.seq}`,
        );
      }
    }
  }

  /**
   * Invariant 2: what is sent again and again is known to be, whoever owns the shard. An owner
   * that dies may forget one attempt, and there were at most `owners`; some are on their way
   * to the disk.
   */
  checkAttempts(
    key: SessionKey,
    session: SessionHistory,
    device: DeviceRecord,
    owners: number,
  ): void {
    const { attempts = 0, triedSeq = 0, setAside = 0, ackedSeq, id } = device;
    const wallMs = this.rules.latestWallMs();
    const first = [...session.entries.values()].find(
      (entry) =>
        entry.seq > ackedSeq &&
        entry.dropped === undefined &&
        entry.expiresAtMs > wallMs &&
        isFor(entry, id),
    );
    if (first === undefined) return;
    const { sent, repeats, trials } = this.devices.of(key, id);
    if (setAside >= this.rules.setAsideMax) trials.add(first.seq);
    if (trials.has(first.seq)) return;
    const inWholeWindows = Math.floor(this.rules.attemptsMax / 2);
    const known = triedSeq >= first.seq ? attempts : 0;
    const most = known + 1 + inWholeWindows + owners + repeats + attemptsInFlight;
    const times = sent.get(first.seq) ?? 0;
    this.world.check(
      times <= most,
      2,
      () => `${key} ${id} was sent ${first.seq} ${times} times, and ${known} are stored`,
    );
  }

  private hasShown(key: SessionKey, device: string, { id, seq }: Entry): boolean {
    return this.devices.hasShown(key, device, id, seq);
  }
}

export function isFor({ target }: Entry, device: string): boolean {
  return target === undefined || target === device;
}
