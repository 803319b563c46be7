/**
 * A process that has an LMDB volume open, for the tests that kill or starve it:
 *
 *   node lmdb-process.js hold  <data folder>     opens volume 0 and waits
 *   node lmdb-process.js leave <data folder>     the same, and closes it when told by a signal
 *   node lmdb-process.js write <data folder>     commits entries 1, 2, 3… until it is ended
 *   node lmdb-process.js fill  <data folder>     commits until a fault, then tells it
 *
 * It prints one JSON document a line.
 */

import type { Fault } from "../../src/base/result.js";
import { LmdbInbox } from "../../src/drivers/lmdb-inbox.js";
import { systemClock } from "../../src/drivers/system-clock.js";
import type { InboxGroup, StoredEntry } from "../../src/ports/inbox-store.js";
import { encodeMsgId } from "../../src/protocol/msg-id.js";
import { type Shard, sessionKey } from "../../src/protocol/shards.js";

export const shard = 8 as Shard;
export const key = sessionKey("demo", "alice");

export function inbox(dataFolder: string, nodeId = "test", leaveWaitMs = 1_000): LmdbInbox {
  const options = { dataFolder, nodeId, incarnation: "1", clock: systemClock };
  return new LmdbInbox({ ...options, leaveWaitMs });
}

export async function commitEntry(group: InboxGroup, seq: number, bytes = 100): Promise<void> {
  const id = encodeMsgId({ timeMs: 1, shard, idc: 1, sequence: seq % 65_536 });
  const entry: StoredEntry = { seq, id, expiresAtMs: 1, record: new Uint8Array(bytes).fill(seq) };
  const changes = [{ kind: "stored", seq, id } as const];
  const [answer] = await group.commit([
    { shard, epoch: 1, sessions: [{ key, append: [entry], changes }] },
  ]);
  if (answer?.ok !== true) throw new Error(`refused: ${JSON.stringify(answer)}`);
}

async function main(task: string, dataFolder: string): Promise<void> {
  const group = await inbox(dataFolder, "child").openGroup(0);
  // Before it says that it is open: the signal may come at once, and would end it.
  if (task === "leave") process.once("SIGUSR2", () => void group.close());
  tell({ open: process.pid });
  if (task === "hold" || task === "leave") setInterval(() => undefined, 1_000);
  if (task === "write") {
    for (let seq = 1; ; seq++) {
      await commitEntry(group, seq);
      tell({ committed: seq });
    }
  }
  if (task === "fill") await fill(group);
}

async function fill(group: InboxGroup): Promise<void> {
  for (let seq = 1; ; seq++) {
    try {
      await commitEntry(group, seq, 60_000);
    } catch (error) {
      const { code, outcome, message } = error as Fault;
      tell({ code, outcome, message, committed: seq - 1 });
      break;
    }
  }
  const session = await group.loadSession(shard, key);
  const readable = session?.entries.length ?? 0;
  // A small one still finds room, and follows what was committed without a gap.
  await commitEntry(group, readable + 1);
  const changes = await group.readChanges(shard, 0, 10_000);
  tell({ readable, numbers: changes.map(({ number }) => number) });
  await group.close();
  tell({ closed: true });
}

function tell(document: object): void {
  process.stdout.write(`${JSON.stringify(document)}\n`);
}

const [, script = "", task, dataFolder] = process.argv;
if (script.endsWith("lmdb-process.js") && task !== undefined && dataFolder !== undefined) {
  await main(task, dataFolder);
}
