/** The operators' switch as an edge follows it, and the lag of its loop. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { KvEdgeConditions } from "../../src/drivers/kv-edge-conditions.js";
import { LoopLag } from "../../src/drivers/loop-lag.js";
import { MemoryKeyValue } from "../../src/drivers/memory-key-value.js";
import { systemClock } from "../../src/drivers/system-clock.js";
import type { Log } from "../../src/ports/log.js";
import { edgeSwitchKey, encodeEdgeSwitch } from "../../src/protocol/edge-switch.js";
import { until } from "../support/until.js";

const silent: Log = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
};

describe("the edges' switch", () => {
  test("lets in all until it is set, holds for all who follow it, and for who comes later", async () => {
    const bucket = new MemoryKeyValue(systemClock);
    const [one, other] = await Promise.all(
      [1, 2].map(() => KvEdgeConditions.follow(bucket, silent)),
    );
    assert.ok(one !== undefined && other !== undefined);
    assert.equal(one.letInPercent, 100);
    await one.setLetIn(20);
    await until("both have it", () => one.letInPercent === 20 && other.letInPercent === 20);
    await other.setLetIn(0);
    const later = await KvEdgeConditions.follow(bucket, silent);
    await until("all have it", () => [one, other, later].every((each) => each.letInPercent === 0));
    for (const each of [one, other, later]) each.close();
  });

  test("stays as it was on what does not read, and lets in all when it is gone", async () => {
    const bucket = new MemoryKeyValue(systemClock);
    const errors: string[] = [];
    const log = { ...silent, error: (event: string) => void errors.push(event) };
    const conditions = await KvEdgeConditions.follow(bucket, log);
    await conditions.setLetIn(20);
    const bad = ["noise", '{"v":2,"letInPercent":5}', '{"v":1,"letInPercent":101}', "[]", "null"];
    for (const text of bad) {
      const present = await bucket.get(edgeSwitchKey);
      await bucket.update(edgeSwitchKey, Buffer.from(text), present?.revision ?? 0);
    }
    await until("each was told", () => errors.length === bad.length);
    assert.equal(conditions.letInPercent, 20);
    await bucket.create("edges-of-another", encodeEdgeSwitch({ letInPercent: 1 }));
    await conditions.setLetIn(30);
    await until("it is set again", () => conditions.letInPercent === 30);
    const present = await bucket.get(edgeSwitchKey);
    await bucket.delete(edgeSwitchKey, present?.revision ?? 0);
    await until("all are let in", () => conditions.letInPercent === 100);
    conditions.close();
  });
});

test("a loop that is blocked again and again lags, one that is not does not", async () => {
  const lag = new LoopLag();
  const block = () => {
    const endMs = performance.now() + 200;
    while (performance.now() < endMs);
    return lag.ms > 100;
  };
  await until("it is known", block);
  await until("it is over", () => lag.ms < 50);
  lag.stop();
});
