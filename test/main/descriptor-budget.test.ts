/** How many connections a process takes of the descriptors that it has. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { descriptorsMax, socketBudget } from "../../src/main/descriptor-budget.js";

describe("a process's descriptors", () => {
  const handshakesWanted = 1_000;
  const wantedBeside = { handshakesMax: handshakesWanted, askingMax: 500 };

  for (const [descriptors, connectionsMax, socketsMax, handshakesMax, askingMax] of [
    [undefined, 18_000, 20_000, 1_000, 500],
    [1_048_576, 18_000, 20_000, 1_000, 500],
    [20_000, 18_000, 19_488, 744, 372],
    [16_384, 15_078, 15_872, 397, 198],
    [10_000, 9_013, 9_488, 237, 118],
    [4_096, 3_404, 3_584, 90, 45],
    [1_024, 729, 768, 19, 9],
    [256, 182, 192, 5, 2],
  ] as const) {
    test(`${descriptors}: ${connectionsMax} connections, ${socketsMax} sockets`, () => {
      const wanted = { connectionsMax: 18_000, ...wantedBeside };
      const budget = { connectionsMax, socketsMax, handshakesMax, askingMax };
      assert.deepEqual(socketBudget(wanted, descriptors), budget);
    });
  }

  test("are never all for sockets, and some are always for handshakes", () => {
    const wanted = { connectionsMax: 1_000_000, ...wantedBeside };
    for (let descriptors = 16; descriptors < 100_000; descriptors += 13) {
      const { connectionsMax, socketsMax } = socketBudget(wanted, descriptors);
      assert.ok(connectionsMax < socketsMax && socketsMax < descriptors, `${descriptors}`);
      assert.ok(descriptors - socketsMax >= Math.min(512, descriptors / 4));
    }
  });

  test("are so many that a handshake, or who asks, gives way before the next socket is dropped", () => {
    for (const connectionsWanted of [1, 1_000, 18_000, 1_000_000]) {
      const wanted = { connectionsMax: connectionsWanted, ...wantedBeside };
      for (let descriptors = 16; descriptors < 100_000; descriptors += 13) {
        const budget = socketBudget(wanted, descriptors);
        const { connectionsMax, socketsMax, handshakesMax, askingMax } = budget;
        assert.ok(handshakesMax >= 1 && handshakesMax <= handshakesWanted, `${descriptors}`);
        assert.ok(connectionsMax + handshakesMax + askingMax < socketsMax, `${descriptors}`);
      }
    }
  });

  test("leave handshakes their own bound where it is the smaller one", () => {
    const wanted = { connectionsMax: 18_000, handshakesMax: 7, askingMax: 5 };
    const { handshakesMax, askingMax } = socketBudget(wanted, 1_048_576);
    assert.deepEqual([handshakesMax, askingMax], [7, 5]);
  });

  test("are known on Linux", { skip: process.platform !== "linux" }, () => {
    assert.ok((descriptorsMax() ?? 0) > 0);
  });
});
