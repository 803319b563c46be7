/**
 * Pushes that an intake holds while its group does not serve, in the order in which they are
 * to be passed on. What wants an answer is held until shortly before its deadline, as any
 * request that waits here; a plain publish as long as it takes.
 *
 * Bounded by itself, and by a room that all intakes of the node share.
 */
import type { ReceivedPush } from "../src/protocol/messages.js";
import type { Limits } from "./limits.js";

export interface HeldPush {
  readonly push: ReceivedPush;
  /** When it was taken up, on this node's monotonic clock; before that another may have held it. */
  readonly sinceMs: number;
}

/** What all intakes of one node hold together. */
export class HeldRoom {
  count = 0;
  bytes = 0;
}

export class HeldPushes {
  private pushes: HeldPush[] = [];
  private bytes = 0;
  /** So many of them, from the first, came to this node alone: nobody else can have subscribed. */
  private aloneCount = 0;

  constructor(
    private readonly room: HeldRoom,
    private readonly limits: Limits,
  ) {}

  get count(): number {
    return this.pushes.length;
  }

  get alone(): number {
    return this.aloneCount;
  }

  markAlone(): void {
    this.aloneCount = this.pushes.length;
  }

  forgetAlone(): void {
    this.aloneCount = 0;
  }

  /** False when there is no room for it. */
  add(held: HeldPush): boolean {
    const { heldPushesMax, heldBytesMax, nodeHeldPushesMax, nodeHeldBytesMax } = this.limits;
    if (this.pushes.length >= heldPushesMax || this.bytes >= heldBytesMax) return false;
    if (this.room.count >= nodeHeldPushesMax || this.room.bytes >= nodeHeldBytesMax) return false;
    this.pushes.push(held);
    this.account(1, held.push.payload.length);
    return true;
  }

  /** What another intake held, which had the same bound: there is room for it. */
  putFirst(held: readonly HeldPush[]): void {
    this.pushes = [...held, ...this.pushes];
    this.account(held.length, bytesOf(held));
  }

  takeAll(): HeldPush[] {
    const { pushes } = this;
    this.account(-pushes.length, -this.bytes);
    this.pushes = [];
    return pushes;
  }

  takeOverdue(beforeMs: number): readonly HeldPush[] {
    const { overdue, kept, alone } = splitOverdue(this.pushes, this.aloneCount, beforeMs);
    if (overdue.length === 0) return overdue;
    this.pushes = kept;
    this.aloneCount = alone;
    this.account(-overdue.length, -bytesOf(overdue));
    return overdue;
  }

  private account(count: number, bytes: number): void {
    this.bytes += bytes;
    this.room.count += count;
    this.room.bytes += bytes;
  }
}

/** Overdue is what wants an answer and came before `beforeMs`; `alone` of `kept` were among the first. */
export function splitOverdue(
  pushes: readonly HeldPush[],
  aloneCount: number,
  beforeMs: number,
): { overdue: HeldPush[]; kept: HeldPush[]; alone: number } {
  const overdue: HeldPush[] = [];
  const kept: HeldPush[] = [];
  let alone = 0;
  for (const [at, held] of pushes.entries()) {
    const isOverdue = wantsAnswer(held) && held.sinceMs < beforeMs;
    if (!isOverdue && at < aloneCount) alone++;
    (isOverdue ? overdue : kept).push(held);
  }
  return { overdue, kept, alone };
}

function wantsAnswer({ push }: HeldPush): boolean {
  return push.reply !== undefined && push.reply !== "";
}

function bytesOf(held: readonly HeldPush[]): number {
  return held.reduce((sum, { push }) => sum + push.payload.length, 0);
}
