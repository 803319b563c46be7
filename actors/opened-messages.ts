/**
 * Which messages a user's devices said that a person opened. Told once each, and no more of
 * them than people open: a client says what it likes, and each one is a change in the log.
 *
 * Remembered with the session in memory only: after a move, or a minute without a connection,
 * the same one may be told again.
 */
import { type Rate, taken, waitMs } from "../src/base/token-bucket.js";
import type { Change } from "../src/ports/inbox-store.js";
import type { Opened } from "../src/protocol/messages.js";
import { decodeMsgId, type MsgId } from "../src/protocol/msg-id.js";
import type { SessionDesk } from "./session-desk.js";

export const openedMax = 64;
const pace: Rate = { perSecond: 1, burst: openedMax };

export class OpenedMessages {
  private readonly told = new Set<string>();
  private fullAtMs = 0;

  /** If it can be true: into the next write where a receipt is wanted, else into the journal alone. */
  note(desk: SessionDesk, { device, id }: Opened): void {
    const { node, shard } = desk.context;
    const { clock, journal } = node;
    const nowMs = clock.monotonicMs();
    const name = `${id} ${device}`;
    if (this.told.has(name) || waitMs(this.fullAtMs, pace, nowMs) > 0) return;
    // Of a message that the inbox has let go, the id's shard and time are all that can be checked.
    const mayBeOwn = isGivenBy(desk, id, clock.wallMs());
    if (!mayBeOwn || !desk.devices.some((known) => known.id === device)) return;
    this.fullAtMs = taken(this.fullAtMs, pace, nowMs);
    this.remember(name);
    const change: Change = { kind: "opened", device, id };
    if (desk.wantsReceipt("opened")) desk.write().changes.push(change);
    else if (desk.mayServe) journal?.committed(shard, desk.stepSession, [change], []);
  }

  private remember(name: string): void {
    if (this.told.size >= openedMax) {
      const [oldest = ""] = this.told;
      this.told.delete(oldest);
    }
    this.told.add(name);
  }
}

/** Ids run ahead of the clock by what is reserved at most. */
function isGivenBy({ context }: SessionDesk, id: MsgId, wallMs: number): boolean {
  const parts = decodeMsgId(id);
  if (parts === undefined || parts.shard !== context.shard) return false;
  return parts.timeMs <= wallMs + context.node.limits.reserveMs;
}
