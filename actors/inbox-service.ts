/**
 * What services ask of one user's inbox: to list it, to take messages back, to erase the user.
 *
 * Invariant: nothing is answered before what it says is on disk.
 */
import { Fault } from "../src/base/result.js";
import type { EntrySummary } from "../src/ports/inbox-store.js";
import type { InboxAnswer, InboxDevice, InboxEntry } from "../src/protocol/inbox-answer.js";
import type { InboxRequest } from "../src/protocol/inbox-request.js";
import { unpackRecord } from "../src/protocol/message-record.js";
import type { ReplyTo, ServeInbox } from "../src/protocol/messages.js";
import type { Device } from "./device.js";
import { mustWait, postpone } from "./postponed.js";
import { answerInbox, answerRefused } from "./push-answering.js";
import type { SessionDesk } from "./session-desk.js";

/** Records that are read for the types of what is listed; the rest is listed without. */
const typesBytesMax = 1024 * 1024;
/** Due times of a shard that an erasure looks through for the user's own. */
const dueMax = 100_000;
/** Beyond the longest that anything lives, whatever a clock has said. */
const farAheadMs = 400 * 24 * 3_600_000;

export class InboxService {
  constructor(private readonly desk: SessionDesk) {}

  serve(asked: ServeInbox): void | Promise<void> {
    const { desk } = this;
    if (!desk.mayServe) return;
    const { request, reply } = asked;
    if (mustWait(desk)) {
      postpone(desk, asked);
      return;
    }
    if (desk.context.commits.isFull) {
      answerRefused(desk.context.node.bus, reply, "OVERLOADED");
      return;
    }
    switch (request.op) {
      case "list":
        return this.orRefused(this.list(request, reply), reply);
      case "recall":
        this.recall(request, reply);
        return;
      case "erase":
        // It names all that is stored as gone, so it looks when all that was given is.
        if (desk.isSettled) return this.orRefused(this.erase(reply), reply);
        if (postpone(desk, asked)) desk.announceErasure();
        return;
    }
  }

  /** A store that cannot be read is no reason to begin the session again: nothing was done. */
  private async orRefused(work: Promise<void>, reply: ReplyTo | undefined): Promise<void> {
    try {
      await work;
    } catch (cause) {
      if (!(cause instanceof Fault)) throw cause;
      answerRefused(this.desk.context.node.bus, reply, "STORE_UNAVAILABLE", cause.message);
    }
  }

  private async list(
    { after, limit }: Extract<InboxRequest, { op: "list" }>,
    reply: ReplyTo | undefined,
  ): Promise<void> {
    const { desk } = this;
    const { inbox, devices } = desk;
    const waiting = inbox.summaries.filter(({ seq }) => seq > after && seq <= inbox.committedSeq);
    const page = waiting.slice(0, limit);
    const types = await this.typesOf(page, after);
    this.answer(reply, {
      ok: true,
      generation: inbox.generation,
      lastSeq: inbox.committedSeq,
      ...inbox.size,
      entries: page.map((entry) => listed(entry, types.get(entry.seq))),
      more: waiting.length > page.length,
      devices: devices.map((device) => this.viewOf(device)),
      presence: desk.presence,
    });
  }

  private async typesOf(
    page: readonly EntrySummary[],
    after: number,
  ): Promise<ReadonlyMap<number, string | undefined>> {
    if (page.length === 0) return new Map();
    const { context, sessionKey } = this.desk;
    const { shard, inbox } = context;
    const read = await inbox.readEntries(shard, sessionKey, after, page.length, typesBytesMax);
    return new Map(read.map(({ seq, record }) => [seq, unpackRecord(record).head?.type]));
  }

  private viewOf(device: Device): InboxDevice {
    const { id, platform, connect: _, ackedSeq, seenAtMs, ...tried } = device.toRecord();
    const unacked = this.desk.inbox.summaries.filter(
      ({ seq, target }) => seq > ackedSeq && device.isTargetOf(target),
    );
    return {
      ...{ id, platform, acked: ackedSeq, unacked: unacked.length, seenAtMs },
      attempts: tried.attempts ?? 0,
      setAside: tried.setAside ?? 0,
      stalled: device.isStalled,
      connected: device.isConnected,
    };
  }

  /** Also of a message that all have acked: an app that still shows it takes it away. */
  private recall(
    request: Extract<InboxRequest, { op: "recall" }>,
    reply: ReplyTo | undefined,
  ): void {
    const { desk } = this;
    const recalled = desk.inbox.recall(request, () => desk.write());
    const ids = recalled.map(({ id }) => id);
    const told = recalled.map(({ id, target }) => ({ id, target }));
    if ("id" in request && ids.length === 0) told.push({ id: request.id, target: undefined });
    if (ids.length > 0) desk.write().recalled.push(...told);
    else desk.deliveries.deliverRecalled(told);
    this.answer(reply, { ok: true, recalled: ids });
  }

  private async erase(reply: ReplyTo | undefined): Promise<void> {
    const { desk } = this;
    const { context, sessionKey, inbox } = desk;
    const untilMs = context.node.clock.wallMs() + farAheadMs;
    const due = await context.inbox.readDue(context.shard, untilMs, dueMax);
    const own = due.filter(({ key }) => key === sessionKey).map(({ atMs }) => atMs);
    if (!desk.mayServe) return;
    const write = desk.write();
    const { messages } = inbox.size;
    inbox.erase(own, write);
    const devices = desk.devices.length;
    write.replies.push({ reply, answer: { ok: true, messages, devices } });
    desk.beginErasure(write);
  }

  /** What was decided before may still be on its way to disk; the answer must not overtake it. */
  private answer(reply: ReplyTo | undefined, answer: InboxAnswer): void {
    const { desk } = this;
    if (desk.isSettled) answerInbox(desk.context.node.bus, { reply, answer });
    else desk.write().replies.push({ reply, answer });
  }
}

function listed(
  { id, seq, bytes, expiresAtMs, collapse, target }: EntrySummary,
  type: string | undefined,
): InboxEntry {
  return {
    ...{ id, seq, bytes, expiresAtMs },
    ...(collapse === undefined ? {} : { collapse }),
    ...(target === undefined ? {} : { target }),
    ...(type === undefined ? {} : { type }),
  };
}
