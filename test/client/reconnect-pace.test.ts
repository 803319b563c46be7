/** When a device comes back, by itself and in a device on virtual time. */
import { deepEqual, equal, ok } from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { retryAfterMs } from "../../src/base/retry-after.js";
import { memoryStorage } from "../../src/client/platform.js";
import { closeHintMs, ReconnectPace } from "../../src/client/reconnect-pace.js";
import { VirtualClock } from "../support/virtual-clock.js";
import { connected, stage } from "./device-stage.js";

function pace(draw = 0.5, own = {}): { pace: ReconnectPace; clock: VirtualClock } {
  const clock = new VirtualClock();
  return { clock, pace: new ReconnectPace(clock, { next: () => draw }, own) };
}

describe("a reconnect pace", () => {
  test("never comes back before the longest hint, whatever is drawn", () => {
    const hint = fc.integer({ min: 0, max: 3_600_000 });
    fc.assert(
      fc.property(
        fc.array(hint, { maxLength: 4 }),
        fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
        fc.nat(40),
        (hints, draw, attempts) => {
          const { pace: one } = pace(draw);
          for (let attempt = 0; attempt < attempts; attempt++) one.nextMs();
          for (const hintMs of hints) one.hold(hintMs);
          const longestMs = Math.max(0, ...hints);
          ok(one.soonMs() >= longestMs);
          ok(one.nextMs() >= longestMs);
          ok(one.nextMs() <= 2 * longestMs + 30_000);
        },
      ),
    );
  });

  test("spreads those who got the same hint over as long again", () => {
    const first = pace(0).pace;
    const last = pace(0.999).pace;
    for (const one of [first, last]) one.hold(10_000);
    equal(first.nextMs(), 10_000);
    equal(last.nextMs(), 19_990);
  });

  test("believes no hint of more than an hour", () => {
    const { pace: one } = pace(0);
    one.hold(Number.MAX_SAFE_INTEGER);
    equal(one.nextMs(), 3_600_000);
  });

  test("keeps to a hint over a reset, and forgets it when it is over", () => {
    const { pace: one, clock } = pace(0);
    one.hold(10_000);
    one.reset();
    equal(one.nextMs(), 10_000);
    clock.advance(10_000);
    equal(one.nextMs(), 0);
  });

  test("takes a server's parameters for the defaults, and only slower than the app's", () => {
    const { pace: free } = pace();
    free.adopt({ baseMs: 2_000, capMs: 4_000 });
    deepEqual([free.nextMs(), free.nextMs(), free.nextMs()], [1_000, 2_000, 2_000]);
    const { pace: own } = pace(0.5, { baseMs: 1_000, capMs: 60_000 });
    own.adopt({ baseMs: 100, capMs: 90_000 });
    deepEqual([own.nextMs(), own.nextMs()], [500, 1_000]);
    own.adopt({ baseMs: Number.NaN, capMs: -1 });
    equal(own.nextMs(), 2_000);
  });

  test("is not hurried by a server that takes seconds for milliseconds", () => {
    const { pace: one } = pace(0.999);
    one.adopt({ baseMs: 0.5, capMs: 30 });
    equal(one.nextMs(), 99.9);
    for (let attempt = 0; attempt < 9; attempt++) one.nextMs();
    equal(one.nextMs(), 999);
  });

  test("reads hints of closes and of HTTP", () => {
    equal(closeHintMs(4005, ""), 5_000);
    equal(closeHintMs(4007, ""), 5_000);
    equal(closeHintMs(1006, ""), 0);
    equal(closeHintMs(4005, "draining retryAfterMs=12000"), 12_000);
    equal(closeHintMs(4000, "retryAfterMs=999999999"), 3_600_000);
    equal(closeHintMs(4000, "xretryAfterMs=5"), 0);
    equal(retryAfterMs("7", 0), 7_000);
    equal(retryAfterMs("Thu, 01 Jan 1970 00:00:10 GMT", 4_000), 6_000);
    for (const header of ["", null, undefined, "soon", "-3"]) equal(retryAfterMs(header, 0), 0);
  });
});

describe("a device", () => {
  test("waits as long as a close asks for, also when the app is impatient", async () => {
    const { edge, clock, device, states } = await connected();
    edge.socket.drop(4005, "shedding retryAfterMs=20000");
    const state = states.at(-1);
    equal(state?.name === "waiting" && state.retryInMs, 30_000);
    device.connect();
    device.close();
    device.connect();
    await clock.advanceAndSettle(19_999);
    equal(edge.sockets.length, 1);
    await clock.advanceAndSettle(20_001);
    equal(edge.sockets.length, 2);
  });

  // Each page that was opened in a storm asked at once.
  test("waits as long as a close asked for that a page before it got", async () => {
    const storage = memoryStorage();
    const first = await connected({ storage });
    first.edge.socket.drop(4005, "shedding retryAfterMs=20000");
    first.device.close();
    await first.clock.advanceAndSettle(5_000);
    const second = stage({ storage, clock: first.clock });
    second.device.connect();
    await second.clock.settle();
    const { state } = second.device;
    equal(state.name === "waiting" && state.retryInMs, 15_000 + 7_500);
    second.device.connect();
    await second.clock.advanceAndSettle(22_500);
    equal(second.edge.sockets.length, 1);
    second.device.close();
    first.clock.jumpWall(-7_200_000);
    const third = stage({ storage, clock: first.clock });
    third.device.connect();
    await third.clock.settle();
    equal(third.edge.sockets.length, 1, "the clock was set back");
    third.device.close();
  });

  test("waits as long as a refused handshake asks for", async () => {
    const { edge, device, states } = await connected();
    edge.socket.drop(1006, "refused with HTTP 503", 8_000);
    const state = states.at(-1);
    equal(state?.name === "waiting" && state.retryInMs, 12_000);
    device.close();
  });
});
