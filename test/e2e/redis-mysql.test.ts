/** Nodes on Redis and MySQL: what the embedded store's nodes do, and a failover between them. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { startPlatform } from "../support/platform.js";
import { startStoreServers } from "../support/store-servers.js";
import { until } from "../support/until.js";

test("delivers, keeps for who is away, and goes on at the other node after kill -9", async () => {
  await using servers = await startStoreServers();
  await using platform = await startPlatform({ environment: servers.environment });
  const storage = new Map<string, string>();
  const kept = {
    get: (key: string) => storage.get(key) ?? null,
    set: (key: string, value: string) => void storage.set(key, value),
  };
  const received: unknown[] = [];
  const onMessage = (message: { body: unknown }) => void received.push(message.body);
  const before = platform.device("alice", { storage: kept, onMessage });
  await until("alice is attached", () => before.position !== undefined);
  assert.equal((await platform.push("alice", { body: 0 })).ok, true);
  await until("the push arrives", () => received.length === 1);
  before.close();
  for (let number = 1; number <= 100; number++) {
    assert.equal((await platform.push("alice", { body: number })).ok, true);
  }
  await platform.killNode("a");
  await platform.untilPlaced();
  await until("alice's shard answers again", async () => {
    return (await platform.push("alice", { body: 101, id: "after" })).ok;
  });
  platform.device("alice", { storage: kept, onMessage });
  await until("all have arrived", () => received.length >= 102);
  assert.deepEqual(
    received,
    Array.from({ length: 102 }, (_, at) => at),
  );
});
