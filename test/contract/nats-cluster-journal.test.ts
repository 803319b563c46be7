/** The journal's contract on three servers, and that it goes on when the one that leads it dies. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { jetstreamManager } from "@nats-io/jetstream";
import { NatsJournal } from "../../src/drivers/nats-journal.js";
import type { JournalStore } from "../../src/ports/journal.js";
import { type NatsMember, startNatsCluster } from "../support/nats-cluster.js";
import { until } from "../support/until.js";
import { journalContract } from "./journal.js";

const options = { bytesMax: 64 * 1024 * 1024, maxAgeMs: 3_600_000 };
const bounds = { fromMs: 0, bytesMax: 2 ** 20, deadlineMs: 10_000 };

journalContract("NATS cluster", async () => {
  const cluster = await startNatsCluster();
  const connection = await cluster.connectTo(cluster.members[0] as NatsMember);
  const store = new NatsJournal(connection, options);
  await untilTaken(store, 60, "first");
  return {
    store,
    dispose: async () => {
      await connection.close();
      await cluster.stop();
    },
  };
});

test("three servers hold the journal, and what was kept outlives the one that led it", async () => {
  await using cluster = await startNatsCluster();
  const first = await cluster.connectTo(cluster.members[0] as NatsMember);
  await untilTaken(new NatsJournal(first, options), 1, "before");
  const jsm = await jetstreamManager(first.client);
  assert.equal((await jsm.streams.info("JOURNAL")).config.num_replicas, 3);
  const leader = await cluster.streamLeader("JOURNAL");
  const other = cluster.members.find((member) => member !== leader) as NatsMember;
  const connection = await cluster.connectTo(other);
  const store = new NatsJournal(connection, options);
  leader.kill("SIGKILL");
  await untilTaken(store, 1, "after");
  let seen: string[] = [];
  // What feeds the reader may stand a moment behind what was kept.
  await until("both are read", async () => {
    seen = [];
    await store.read({ block: 1, ...bounds }, ({ bytes }) => {
      seen.push(Buffer.from(bytes).toString());
      return true;
    });
    return seen.length >= 2;
  });
  assert.deepEqual(seen, ["before", "after"]);
  await Promise.all([first.close(), connection.close()]);
});

/** A cluster may have to elect who leads the stream; under its id a batch is kept once. */
async function untilTaken(store: JournalStore, block: number, id: string): Promise<void> {
  await until(`the journal takes ${id}`, () =>
    store.append(block, id, Buffer.from(id)).then(
      () => true,
      () => false,
    ),
  );
}
