/** How many connections a process takes of the descriptors that it has. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { descriptorsMax, socketBudget } from "../../src/main/descriptor-budget.js";

describe("a process's descriptors", () => {
  for (const [descriptors, connectionsMax, socketsMax] of [
    [undefined, 18_000, 20_000],
    [1_048_576, 18_000, 20_000],
    [20_000, 18_000, 19_488],
    [10_000, 9_013, 9_488],
    [1_024, 729, 768],
    [256, 182, 192],
  ] as const) {
    test(`${descriptors}: ${connectionsMax} connections, ${socketsMax} sockets`, () => {
      assert.deepEqual(socketBudget(18_000, descriptors), { connectionsMax, socketsMax });
    });
  }

  test("are never all for sockets, and some are always for handshakes", () => {
    for (let descriptors = 16; descriptors < 100_000; descriptors += 13) {
      const { connectionsMax, socketsMax } = socketBudget(1_000_000, descriptors);
      assert.ok(connectionsMax < socketsMax && socketsMax < descriptors, `${descriptors}`);
      assert.ok(descriptors - socketsMax >= Math.min(512, descriptors / 4));
    }
  });

  test("are known on Linux", { skip: process.platform !== "linux" }, () => {
    assert.ok((descriptorsMax() ?? 0) > 0);
  });
});
