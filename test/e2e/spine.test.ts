/** The spine, on real parts: a push from the bus to a client and its ack back to the inbox. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { startPlatform } from "../support/platform.js";
import { until } from "../support/until.js";

test("delivers a push to a connected client and trims the inbox at its ack", async () => {
  await using platform = await startPlatform();
  const received: unknown[] = [];
  const device = platform.device("alice", {
    onMessage: (message) => void received.push(message.body),
  });
  await until("alice is attached", () => device.position !== undefined);
  const answer = await platform.push("alice", { body: { text: "hello" } });
  assert.equal(answer.ok, true);
  await until("the push arrives", () => received.length === 1);
  assert.deepEqual(received, [{ text: "hello" }]);
});

test("keeps 1,000 messages for a user who is away, also over a stop of every process", async () => {
  await using platform = await startPlatform();
  const storage = new Map<string, string>();
  const kept = {
    get: (key: string) => storage.get(key) ?? null,
    set: (key: string, value: string) => void storage.set(key, value),
  };
  const first: unknown[] = [];
  const before = platform.device("bob", {
    storage: kept,
    onMessage: (message) => void first.push(message.body),
  });
  await platform.push("bob", { body: -1 });
  await until("bob has the first", () => first.length === 1);
  before.close();
  for (let number = 0; number < 1_000; number += 100) {
    const batch = Array.from({ length: 100 }, (_, at) =>
      platform.push("bob", { body: number + at }),
    );
    for (const answer of await Promise.all(batch)) assert.equal(answer.ok, true);
  }
  await platform.startAgain(await platform.stopAll());
  const received: unknown[] = [];
  platform.device("bob", {
    storage: kept,
    onMessage: (message) => void received.push(message.body),
  });
  await until("all have arrived", () => received.length >= 1_000);
  assert.deepEqual(
    received,
    Array.from({ length: 1_000 }, (_, at) => at),
  );
});
