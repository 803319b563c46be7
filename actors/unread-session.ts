/**
 * What stands for a session's inbox while what is stored of the user cannot be read: pushes
 * are refused as retryable at once, and the rows are asked for again when somebody comes.
 *
 * Invariant: nothing of the user is changed, but for an erasure, which names what it finds
 * and does not read it.
 */
import type { Fault } from "../src/base/result.js";
import type { ReplyTo, ServeInbox } from "../src/protocol/messages.js";
import type { SessionKey } from "../src/protocol/shards.js";
import { answerRefused } from "./push-answering.js";
import type { SessionDesk } from "./session-desk.js";
import type { ShardContext } from "./shard-context.js";

const readAgainMs = 1_000;
/** Due times of a shard that an erasure looks through for the user's own. */
const dueMax = 100_000;

export class UnreadSession {
  private constructor(
    /** Of the fault: the store's own word for it. */
    readonly code: string,
    private readonly triedMs: number,
  ) {}

  /** `former`: what was said already is not said again. */
  static because(
    fault: Fault,
    former: unknown,
    { node, shard }: ShardContext,
    session: SessionKey,
  ): UnreadSession {
    const { code, message } = fault;
    const isKnown = former instanceof UnreadSession && former.code === code;
    if (!isKnown) node.log.warn("session not loaded", { session, shard, code, message });
    return new UnreadSession(code, node.clock.monotonicMs());
  }

  /** For good; a store that is only away is waited for. */
  get isCorrupt(): boolean {
    return this.code === "STORE_CORRUPT";
  }

  /** One read a second: whoever asks more often is answered by the last. */
  isDue(nowMs: number): boolean {
    return nowMs - this.triedMs >= readAgainMs;
  }
}

/** Says whose fault it is not: the push is good, and may be sent again. */
export function refuseUnread({ context, mayServe }: SessionDesk, reply: ReplyTo | undefined): void {
  const message = "what is stored of this user cannot be read now";
  if (mayServe) answerRefused(context.node.bus, reply, "STORE_UNAVAILABLE", message);
}

/**
 * Erases by name what does not read, marks of lanes too: one of them may be what does not.
 * Throws Fault("STORE_UNAVAILABLE", "not-done") where the store cannot even name it.
 */
export async function eraseUnread(desk: SessionDesk, { reply }: ServeInbox): Promise<void> {
  const { context, sessionKey } = desk;
  const { inbox, shard } = context;
  const { seqs, keys } = await inbox.namesOf(shard, sessionKey);
  const due = await inbox.readDue(shard, Number.MAX_SAFE_INTEGER, dueMax);
  const write = desk.write();
  write.remove = true;
  write.drop.push(...seqs);
  write.forget.push(...keys);
  write.removeDue.push(...due.filter(({ key }) => key === sessionKey).map(({ atMs }) => atMs));
  write.changes.push({ kind: "erased" });
  write.replies.push({ reply, answer: { ok: true, messages: seqs.length, devices: 0 } });
  desk.beginErasure(write);
}
