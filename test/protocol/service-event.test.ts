/** Which events an app wants, as its record says it. */
import { deepEqual, equal } from "node:assert/strict";
import { describe, test } from "node:test";
import { type AppRecord, decodeAppRecord, encodeAppRecord } from "../../src/protocol/app-record.js";
import { readEvents } from "../../src/protocol/app-settings.js";
import { eventId, wantsReceipt } from "../../src/protocol/service-event.js";
import type { Shard } from "../../src/protocol/shards.js";

describe("what an app wants to be told", () => {
  test("is nothing where its record says nothing", () => {
    const record = { v: 1, app: "demo", secrets: [], delivery: "each-device", createdAtMs: 0 };
    equal(decodeAppRecord(encodeAppRecord(record as AppRecord))?.events, undefined);
    equal(wantsReceipt({}, "stored"), false);
    equal(wantsReceipt({ receipts: false }, "stored"), false);
  });

  test("stays in its record", () => {
    const events = { receipts: ["acked", "of a later release"], presence: true };
    const record = {
      v: 1,
      app: "demo",
      secrets: [],
      delivery: "each-device",
      createdAtMs: 0,
      events,
    };
    deepEqual(decodeAppRecord(encodeAppRecord(record as AppRecord))?.events, events);
    equal(wantsReceipt(events, "acked"), true);
    equal(wantsReceipt(events, "stored"), false);
    equal(wantsReceipt({ receipts: true }, "stored"), true);
  });

  test("counts as absent where it does not read", () => {
    for (const wrong of [undefined, 7, "all", ["stored"]]) deepEqual(readEvents(wrong), {});
    deepEqual(readEvents({ receipts: "all", presence: 1 }), {});
    deepEqual(readEvents({ receipts: [1], presence: false }), { presence: false });
  });
});

test("an event's id is the number of its change in the shard of its datacenter", () => {
  equal(eventId("dc1", 2462 as Shard, 1041, 0), "dc1-2462-1041-0");
  // After a restore another one for the same number.
  equal(eventId("dc1", 2462 as Shard, 1041, 0, 77), "dc1-2462-1041-0-77");
});
