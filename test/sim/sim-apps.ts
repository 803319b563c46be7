/** The apps of every run: one of each policy of delivery. */
import type { AppRecord } from "../../src/protocol/app-record.js";

export const simApps: ReadonlyMap<string, AppRecord> = new Map([
  [
    "each",
    {
      ...{ v: 1, app: "each", secrets: [], delivery: "each-device", createdAtMs: 0 },
      events: { receipts: true, presence: true },
    },
  ],
  [
    "first",
    {
      ...{ v: 1, app: "first", secrets: [], delivery: "first-ack", createdAtMs: 0 },
      limits: { onFull: "drop-oldest" },
    },
  ],
]);
