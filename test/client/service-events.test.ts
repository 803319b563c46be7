/** Receipts and presence, as the services' SDK hands them on. */
import { deepEqual, equal } from "node:assert/strict";
import { describe, test } from "node:test";
import type { PresenceEvent, Receipt } from "../../src/client/service-client.js";
import { ServiceStage } from "./service-stage.js";

const acked = {
  ...{ v: 1, kind: "acked", id: "0DGZRG3G80100001", app: "my shop", uid: "anna.k" },
  ...{ device: "phone", seq: 7, atMs: 1_767_225_600_000, shard: 7, epoch: 3, n: 12, index: 0 },
};
const online = { v: 1, kind: "online", app: "my shop", uid: "anna.k", atMs: 1_767_225_600_000 };
const bytes = (value: unknown) => Buffer.from(JSON.stringify(value));
const settle = () => new Promise((resolve) => setImmediate(resolve));

describe("a service's events", () => {
  test("are subscribed by app, and given to their handlers as they were published", async () => {
    const stage = new ServiceStage();
    const receipts: Receipt[] = [];
    const presence: PresenceEvent[] = [];
    const first = stage.service.receipts((receipt) => void receipts.push(receipt));
    deepEqual(stage.subscribed, ["event.my%20shop.receipt.>"]);
    stage.emit("event.my%20shop.receipt.0DGZRG3G80100001", bytes(acked));
    await settle();
    first.unsubscribe();
    const second = stage.service.presence((event) => void presence.push(event));
    deepEqual(stage.subscribed, ["event.my%20shop.user.>"]);
    stage.emit("event.my%20shop.user.anna%2Ek.online", bytes(online));
    await settle();
    second.unsubscribe();
    deepEqual(receipts, [acked]);
    deepEqual(presence, [online]);
    deepEqual(stage.subscribed, []);
  });

  test("wait for the handler, one at a time and in order, also when it fails", async () => {
    const stage = new ServiceStage();
    const log: unknown[] = [];
    const errors: unknown[] = [];
    let release = (): void => {};
    stage.service.receipts(
      async ({ seq }) => {
        log.push(`begins ${seq}`);
        await new Promise<void>((resolve) => {
          release = resolve;
        });
        log.push(`ends ${seq}`);
        if (seq === 1) throw new Error("of the handler");
      },
      { onError: (error) => void errors.push(error) },
    );
    for (const seq of [1, 2]) stage.emit("", bytes({ ...acked, seq }));
    await settle();
    deepEqual(log, ["begins 1"]);
    release();
    await settle();
    release();
    await settle();
    deepEqual(log, ["begins 1", "ends 1", "begins 2", "ends 2"]);
    equal(errors.length, 1);
  });

  test("beyond the bound are dropped and counted", async () => {
    const stage = new ServiceStage();
    const seen: unknown[] = [];
    let release = (): void => {};
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    const subscription = stage.service.receipts(
      async ({ seq }) => {
        await held;
        seen.push(seq);
      },
      { pendingMax: 3 },
    );
    for (let seq = 1; seq <= 10; seq++) stage.emit("", bytes({ ...acked, seq }));
    deepEqual([subscription.pending, subscription.dropped], [3, 6]);
    release();
    await settle();
    deepEqual(seen, [1, 2, 3, 4]);
  });

  test("that do not read are counted, and given to nobody", async () => {
    const stage = new ServiceStage();
    const seen: unknown[] = [];
    const subscription = stage.service.receipts((receipt) => void seen.push(receipt));
    const { id: _, ...withoutId } = acked;
    for (const noise of ["{", "[]", "null", '"acked"', JSON.stringify({ ...acked, v: 2 })]) {
      stage.emit("", Buffer.from(noise));
    }
    stage.emit("", bytes(withoutId));
    stage.emit("", bytes(acked));
    await settle();
    deepEqual([seen.length, subscription.unreadable], [1, 6]);
  });

  test("end at once with their subscription, those that wait included", async () => {
    const stage = new ServiceStage();
    const seen: unknown[] = [];
    const subscription = stage.service.receipts(async (receipt) => {
      await settle();
      seen.push(receipt.seq);
    });
    for (let seq = 1; seq <= 5; seq++) stage.emit("", bytes({ ...acked, seq }));
    subscription.unsubscribe();
    subscription.unsubscribe();
    await settle();
    await settle();
    deepEqual([seen, subscription.pending], [[1], 0]);
  });
});
