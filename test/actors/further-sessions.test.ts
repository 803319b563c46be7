/** Numbers of sessions beside the first of a connection. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { FurtherSessions } from "../../actors/further-sessions.js";
import { connectionId, slotOf } from "../../src/ports/edge-transport.js";
import { sessionKey } from "../../src/protocol/shards.js";

const firstSlot = 100;
const session = {
  carrier: connectionId(1, 1),
  index: 1,
  key: sessionKey("demo", "alice"),
  device: "phone",
  options: { platform: "web", start: "new" },
} as const;

test("numbers are never given twice, their slots are, and stay within the bound", () => {
  const sessions = new FurtherSessions(firstSlot, 3);
  const given = new Set<number>();
  for (let round = 0; round < 20; round++) {
    const numbers = [0, 1, 2].map(() => sessions.add(session));
    assert.equal(sessions.add(session), undefined);
    for (const number of numbers) {
      assert.ok(number !== undefined && !given.has(number), "a number of its own");
      given.add(number);
      const slot = slotOf(number);
      assert.ok(slot >= firstSlot && slot < firstSlot + 3, `slot ${slot}`);
    }
    for (const number of numbers) if (number !== undefined) sessions.delete(number);
    // Twice is once.
    for (const number of numbers) if (number !== undefined) sessions.delete(number);
  }
  assert.deepEqual([sessions.size, sessions.slotsEnd], [0, firstSlot + 3]);
});
