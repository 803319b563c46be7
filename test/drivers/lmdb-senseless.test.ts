/** A change log that LMDB gives and nobody can make sense of is told apart from one that cannot be had. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { WriteBatch } from "../../src/drivers/lmdb-bytes.js";
import { LmdbEnvironment } from "../../src/drivers/lmdb-environment.js";
import { LmdbInbox } from "../../src/drivers/lmdb-inbox.js";
import { tailKey } from "../../src/drivers/lmdb-layout.js";
import { startVersioned } from "../../src/drivers/lmdb-records.js";
import { systemClock } from "../../src/drivers/system-clock.js";
import { type Shard, sessionKey } from "../../src/protocol/shards.js";
import { Scratch } from "../support/scratch.js";

const [whole, cut] = [0, 8] as readonly number[] as readonly [Shard, Shard];

test("lmdb: what is cut short in a change log is STORE_CORRUPT, of that shard alone", async () => {
  await using scratch = await Scratch.create("senseless");
  const own = { nodeId: "dc1-a", incarnation: "one", clock: systemClock };
  const store = new LmdbInbox({ dataFolder: scratch.folder, ...own });
  const first = await store.openGroup(0);
  const holder = "dc1-a.one";
  const fences = [whole, cut].map((shard) => ({ shard, epoch: 1, holder, reserveUntilMs: 1 }));
  await first.raise(fences);
  const key = sessionKey("demo", "alice");
  const changes = [{ kind: "device-added", device: "phone", platform: "ios" } as const];
  await first.commit(
    fences.map(({ shard }) => ({ shard, epoch: 1, sessions: [{ key, changes }] })),
  );
  await first.close();

  const environment = await LmdbEnvironment.open(join(scratch.folder, "volume-0"));
  const batch = new WriteBatch();
  // Five changes, says its head, and there are none.
  startVersioned(tailKey(batch, cut)).f64(1).u32(5).endPut();
  await environment.write(batch);
  await environment.close();

  const again = await store.openGroup(0);
  const isCorrupt = { name: "Fault", code: "STORE_CORRUPT", outcome: "not-done" };
  await assert.rejects(again.readChanges(cut, 0, 10), isCorrupt);
  // As a publisher asks that passes over one after the other, to the last.
  await assert.rejects(again.readChanges(cut, 4, 1), isCorrupt);
  assert.equal((await again.readChanges(whole, 0, 10)).length, 1);
  await again.close();
});
