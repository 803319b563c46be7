/** The small parts of the client, each by itself. */
import { deepEqual, equal, ok } from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { AckBatcher } from "../../src/client/ack-batcher.js";
import { Backoff } from "../../src/client/backoff.js";
import { LatestWriter } from "../../src/client/latest-writer.js";
import { SeenIds } from "../../src/client/seen-ids.js";
import { accountName, accountOfToken } from "../../src/client/token-account.js";
import { VirtualClock } from "../support/virtual-clock.js";
import { tokenFor } from "./fake-edge.js";

describe("an ack batcher", () => {
  function batcher(): { clock: VirtualClock; acks: AckBatcher; sent: number[] } {
    const clock = new VirtualClock(0);
    const sent: number[] = [];
    const limits = { messagesMax: 3, delayMs: 50 };
    return {
      clock,
      sent,
      acks: new AckBatcher(clock, limits, () => sent.push(clock.monotonicMs())),
    };
  }

  test("sends once after the delay, counted from the first", () => {
    const { clock, acks, sent } = batcher();
    acks.note();
    clock.advance(40);
    acks.note();
    clock.advance(100);
    deepEqual(sent, [50]);
    equal(clock.pendingTimers, 0);
  });

  test("sends at once when enough wait", () => {
    const { clock, acks, sent } = batcher();
    for (let count = 0; count < 7; count++) acks.note();
    deepEqual(sent, [0, 0]);
    clock.advance(50);
    deepEqual(sent, [0, 0, 50]);
  });

  test("flushes only what waits, and forgets it when stopped", () => {
    const { clock, acks, sent } = batcher();
    acks.flush();
    acks.note();
    acks.flush();
    acks.flush();
    deepEqual(sent, [0]);
    acks.note();
    acks.stop();
    clock.advance(1_000);
    deepEqual(sent, [0]);
    equal(clock.pendingTimers, 0);
  });
});

describe("seen ids", () => {
  test("hold the newest, and what is seen again counts as new", () => {
    const ids = new SeenIds(3);
    for (const id of ["a", "b", "c", "a", "d"]) ids.add(id);
    deepEqual(ids.newest(9), ["c", "a", "d"]);
    deepEqual(ids.newest(2), ["a", "d"]);
    equal(ids.has("b"), false);
    equal(ids.has("a"), true);
  });

  test("never hold more than their bound, and always the last one", () => {
    fc.assert(
      fc.property(
        fc.array(fc.string({ maxLength: 2 })),
        fc.integer({ min: 1, max: 5 }),
        (all, max) => {
          const ids = new SeenIds(max);
          for (const id of all) {
            ids.add(id);
            ok(ids.has(id) && ids.size <= max);
          }
        },
      ),
    );
  });

  test("come back from what was stored, within the bound", () => {
    deepEqual(new SeenIds(2, ["a", "b", "c"]).newest(9), ["b", "c"]);
  });
});

describe("a backoff", () => {
  test("stays within its jitter, whatever the dice say", () => {
    fc.assert(
      fc.property(fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }), (dice) => {
        const backoff = new Backoff({ next: () => dice }, { baseMs: 500, capMs: 30_000 });
        for (let attempt = 0; attempt < 50; attempt++) {
          const most = Math.min(30_000, 500 * 2 ** attempt);
          const waitMs = backoff.nextMs();
          ok(waitMs >= 0 && waitMs <= most);
        }
        backoff.reset();
        ok(backoff.nextMs() <= 500);
      }),
    );
  });
});

describe("a writer to a slow storage", () => {
  test("has one write of a key under way, and then writes only the newest", async () => {
    const written: string[] = [];
    const finish: (() => void)[] = [];
    const storage = {
      get: () => null,
      set: (key: string, value: string) => {
        written.push(`${key}=${value}`);
        return new Promise<void>((resolve) => void finish.push(resolve));
      },
    };
    const writer = new LatestWriter(storage, () => {});
    for (const value of ["1", "2", "3"]) writer.write("a", value);
    writer.write("b", "1");
    deepEqual(written, ["a=1", "b=1"]);
    finish[0]?.();
    await new Promise((resolve) => setImmediate(resolve));
    deepEqual(written, ["a=1", "b=1", "a=3"]);
  });

  test("goes on after a write that failed", async () => {
    const errors: unknown[] = [];
    const written: string[] = [];
    const storage = {
      get: () => null,
      set: async (_key: string, value: string) => {
        written.push(value);
        throw new Error("full");
      },
    };
    const writer = new LatestWriter(storage, (error) => errors.push(error));
    writer.write("a", "1");
    writer.write("a", "2");
    await new Promise((resolve) => setImmediate(resolve));
    deepEqual(written, ["1", "2"]);
    equal(errors.length, 2);
  });
});

describe("the account of a token", () => {
  test("is read from a JWT, in any script", () => {
    for (const uid of ["alice", "ä 用户 😀", ""]) {
      equal(accountOfToken(tokenFor(uid)), accountName("demo", uid));
    }
  });

  for (const token of ["", "opaque", "a.b", "a.!!.c", "a.e30.c", "a.bnVsbA.c"]) {
    test(`is unknown for ${JSON.stringify(token)}`, () => {
      equal(accountOfToken(token), undefined);
    });
  }

  test("never throws", () => {
    fc.assert(
      fc.property(fc.string(), (token) => {
        accountOfToken(token);
        accountOfToken(`.${btoa(encodeURIComponent(token))}.`);
      }),
    );
  });
});
