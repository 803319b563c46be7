/**
 * A row of one user that does not read, in a volume as it stands on the disk: that user is
 * refused at once, the log and `belfry user` say who, everybody else is served, and an
 * operator erases what cannot be mended.
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { WriteBatch } from "../../src/drivers/lmdb-bytes.js";
import { LmdbEnvironment } from "../../src/drivers/lmdb-environment.js";
import { volumeCount, volumeName } from "../../src/drivers/lmdb-inbox.js";
import * as layout from "../../src/drivers/lmdb-layout.js";
import { groupOfShard, sessionKey, shardOfKey } from "../../src/protocol/shards.js";
import { runOperatorCommand as belfry } from "../support/operator-command.js";
import { app, startPlatform } from "../support/platform.js";
import { until } from "../support/until.js";

const key = sessionKey(app, "mallory");
const shard = shardOfKey(key);
const group = groupOfShard(shard, volumeCount);
/** Some of them in the shards' volume. */
const neighbours = Array.from({ length: 40 }, (_, index) => `user-${index}`);

async function spoilEntry(dataFolder: string, seq: number): Promise<void> {
  const environment = await LmdbEnvironment.open(join(dataFolder, volumeName(group)));
  const batch = new WriteBatch();
  const junk = new TextEncoder().encode("junk");
  layout.entryKey(batch, shard, key, seq).startValue().raw(junk).endPut();
  await environment.write(batch);
  await environment.close();
}

test("a user whose rows do not read is refused alone, and can be erased", async () => {
  const log: string[] = [];
  await using platform = await startPlatform({
    nodes: ["a"],
    environment: { BELFRY_LOG_LEVEL: "warn" },
    onLog: (_, line) => void log.push(line),
  });
  for (const body of ["one", "two"]) assert.ok((await platform.push("mallory", { body })).ok);
  await platform.killNode("a", "SIGTERM");
  await spoilEntry(join(platform.folder, "data"), 1);
  await platform.startNode("a");
  await platform.untilPlaced();

  const answer = await platform.push("mallory", { body: "three" });
  assert.deepEqual(!answer.ok && [answer.code, answer.retryable], ["STORE_UNAVAILABLE", true]);
  for (const uid of neighbours) assert.ok((await platform.push(uid, { body: 1 })).ok, uid);
  await until("the log says who", () =>
    log.some((line) => line.includes("session not loaded") && line.includes(key)),
  );
  const { document } = await belfry(platform, "user", app, "mallory");
  assert.equal(document.unread, "STORE_CORRUPT");

  const erased = await belfry(platform, "inbox", "erase", app, "mallory", "--yes");
  assert.deepEqual([erased.document.ok, erased.document.messages], [true, 2]);
  const anew = await platform.push("mallory", { body: "four" });
  assert.equal(anew.ok && anew.seq, 1);
  const shown: unknown[] = [];
  platform.device("mallory", { onMessage: ({ body }) => void shown.push(body) });
  await until("what came after it is shown", () => shown.length > 0);
  assert.deepEqual(shown, ["four"]);
});
