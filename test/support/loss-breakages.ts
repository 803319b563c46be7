/**
 * Nodes with a safeguard taken out, to show that a loss test sees it:
 *
 *   LOSS_BREAKAGE=answer-before-commit make test TEST=e2e/loss-lmdb
 *
 * Loaded into each node before its own program (`--import`): it changes the classes that
 * the node then uses, and reaches into what is private there.
 */
import type { Device } from "../../actors/device.js";
import { Inbox } from "../../actors/inbox.js";
import { LaneMarks } from "../../actors/lane-marks.js";
import type { PendingWrite } from "../../actors/pending-write.js";
import { answerAccepted } from "../../actors/push-answering.js";
import { Session } from "../../actors/session.js";
import type { ShardContext } from "../../actors/shard-context.js";
import type { Packet } from "../../src/drivers/mysql-transaction.js";
import { MysqlWriter } from "../../src/drivers/mysql-writer.js";
import type { EntrySummary } from "../../src/ports/inbox-store.js";
import type { AcceptPush } from "../../src/protocol/messages.js";
import type { MsgId } from "../../src/protocol/msg-id.js";

const breakages: Readonly<Record<string, () => void>> = {
  "answer-before-commit": () => {
    replace(Session, "answerOnCommit", function (this: { context: ShardContext }, ...given) {
      const [{ reply }, id, seq, isDuplicate] = given as [AcceptPush, MsgId, number, boolean];
      answerAccepted(this.context.node.bus, reply, id, seq, isDuplicate);
    });
  },
  "trim-by-highest-ack": () => {
    interface OpenInbox {
      readonly summaries: readonly EntrySummary[];
      drop(dropped: readonly EntrySummary[], reason: string, write: PendingWrite): void;
    }
    replace(Inbox, "trim", function (this: OpenInbox, ...given) {
      const [devices] = given as [readonly Device[]];
      const highest = Math.max(...devices.map(({ ackedSeq }) => ackedSeq));
      const dropped = this.summaries.filter(({ seq }) => seq <= highest);
      this.drop(dropped, "acked", given.at(-1) as PendingWrite);
    });
  },
  "no-lane-marks": () => replace(LaneMarks, "taken", () => undefined),
  "no-fence": () => {
    const { transact } = MysqlWriter.prototype;
    replace(MysqlWriter, "transact", function (this: MysqlWriter, ...given) {
      const [connection, packets, left] = given as Parameters<typeof transact>;
      return transact.call(this, connection, packets.map(withoutFence), left);
    });
  },
};

const fence = "VALUES(epoch) >= epoch AND VALUES(version) = version + 1";

/** The change log is a fence as well: two writers number their changes alike. */
function withoutFence(packet: Packet): Packet {
  const sql = packet.sql
    .replace(fence, "TRUE")
    .replaceAll("INSERT INTO changes", "REPLACE INTO changes");
  return { ...packet, sql: sql as Packet["sql"] };
}

function replace<Self>(
  { prototype }: { readonly prototype: object },
  method: string,
  by: (this: Self, ...given: unknown[]) => unknown,
): void {
  if (!(method in prototype)) throw new Error(`there is no ${method} to break any more`);
  Object.defineProperty(prototype, method, { value: by });
}

/** What nodes are started with, by LOSS_BREAKAGE; nothing without it. */
export function nodeEnvironment(): Record<string, string> {
  const name = process.env["LOSS_BREAKAGE"];
  if (name === undefined || name === "") return {};
  if (!(name in breakages)) {
    throw new Error(`LOSS_BREAKAGE is one of ${Object.keys(breakages).join(", ")}`);
  }
  return { BELFRY_TEST_BREAKAGE: name, NODE_OPTIONS: `--import=${import.meta.url}` };
}

/** In a node, which alone is started with it. */
const wanted = process.env["BELFRY_TEST_BREAKAGE"];
if (wanted !== undefined) breakages[wanted]?.();
