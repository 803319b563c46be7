/**
 * Every push by its publisher's own name: how often it was published, how often stored,
 * in which order. What no fault touched must be stored, and nothing more often than it
 * was published; planned moves are no fault (DESIGN §6.5).
 */
import { isEcho, type Payload, payloadName } from "./payload.js";
import type { World } from "./world.js";

interface Account {
  published: number;
  stored: number;
  lastSeq: number;
  /** When each copy was published that must still be stored. */
  owedSinceMs: number[];
}

/** From publish to disk, with a move in between and slow readers on the way. */
const storedWithinMs = 8_000;

export class PushLedger {
  private readonly accounts = new Map<string, Account>();
  /** By publisher: numbers of what was sent only once, ascending. */
  private readonly sentOnce = new Map<string, number[]>();
  private readonly lostCopies = new Set<string>();
  private readonly owing = new Set<Account>();
  readonly counts = { owed: 0, excused: 0 };

  /** `mayDouble`: whether something is going on that moves do not promise to bear. */
  constructor(
    private readonly world: World,
    private readonly mayDouble: () => boolean,
  ) {}

  /** `isOwed`: a plain publish that nothing may keep from being stored. */
  notePublished(payload: Payload, isOwed: boolean): void {
    const account = this.accountOf(payload);
    account.published++;
    // Moves may miscount a few that are the same to the byte (ARCHITECTURE.md); how many,
    // test/actors/move.test.ts holds.
    if (!isOwed || isEcho(payload)) return;
    this.counts.owed++;
    account.owedSinceMs.push(this.world.nowMs);
    this.owing.add(account);
  }

  /** In calm, and not repeated: nothing published later may stand before it. */
  noteSentOnce({ publisher, number }: Payload): void {
    const known = this.sentOnce.get(publisher);
    if (known === undefined) this.sentOnce.set(publisher, [number]);
    else known.push(number);
  }

  /** One of the two owners of a moving shard may have it earlier than the other. */
  excuseOrder({ publisher, number }: Payload): void {
    this.lostCopies.add(payloadName({ publisher, number }));
  }

  /** Its idempotency key went with its user: repeated, it is stored once more. */
  excuseDouble(payload: Payload): void {
    this.accountOf(payload).published++;
  }

  /** `seq`: its place among all that was stored. */
  noteStored(payload: Payload, seq: number): void {
    const account = this.accountOf(payload);
    account.stored++;
    account.lastSeq = seq;
    account.owedSinceMs.shift();
    if (account.owedSinceMs.length === 0) this.owing.delete(account);
    if (isEcho(payload) || this.mayDouble()) return;
    // A request is repeated under its key, so it is stored once, however often it was sent.
    const most = Math.max(1, account.published);
    this.world.check(
      account.stored <= most,
      3,
      () => `${payloadName(payload)} was stored ${account.stored} times, published ${most} times`,
    );
  }

  /** And was let pass. */
  wasDoubled(payload: Payload): boolean {
    return this.accountOf(payload).stored > 1;
  }

  /** A fault: what is on its way may be lost, and is in no order any more. */
  excuseAll(): void {
    for (const [publisher, numbers] of this.sentOnce) {
      const isStored = (number: number) => this.accountOf({ publisher, number }).stored > 0;
      this.sentOnce.set(publisher, numbers.filter(isStored));
    }
    for (const account of this.owing) {
      this.counts.excused += account.owedSinceMs.length;
      account.owedSinceMs = [];
    }
    this.owing.clear();
  }

  /** Checked now and then; at the end nothing may be owed any more. */
  checkOwed(isOver: boolean): void {
    const { nowMs } = this.world;
    for (const [name, { owedSinceMs, published, stored }] of this.accounts) {
      const sinceMs = owedSinceMs[0];
      const isLost = sinceMs !== undefined && (isOver || nowMs - sinceMs > storedWithinMs);
      const when = Math.round(sinceMs ?? 0);
      this.world.check(
        !isLost,
        2,
        () =>
          `${name}, published in calm at ${when} ms, is lost (${stored} of ${published} are stored)`,
      );
    }
  }

  /** Order per publisher, of what was sent only once. */
  checkOrder(): void {
    for (const [publisher, numbers] of this.sentOnce) {
      let last = { name: "", seq: 0 };
      for (const number of [...numbers].sort((a, b) => a - b)) {
        const name = payloadName({ publisher, number });
        const { lastSeq: seq, stored } = this.accounts.get(name) ?? { lastSeq: 0, stored: 0 };
        if (stored === 0 || this.lostCopies.has(name)) continue;
        const { name: before, seq: beforeSeq } = last;
        const isAfter = seq > beforeSeq;
        this.world.check(
          isAfter,
          3,
          () => `${name} was published after ${before}, and stored before it: ${seq}, ${beforeSeq}`,
        );
        last = { name, seq };
      }
    }
  }

  private accountOf(payload: Payload): Account {
    const name = payloadName(payload);
    const known = this.accounts.get(name);
    if (known !== undefined) return known;
    const made: Account = { published: 0, stored: 0, lastSeq: 0, owedSinceMs: [] };
    this.accounts.set(name, made);
    return made;
  }
}
