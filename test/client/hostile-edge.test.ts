/** Whatever an edge, a dispatcher, a storage or another tab says: a device ends, waits or goes on. */
import { deepEqual, equal, ok } from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { decodeServerFrame } from "../../src/client/server-frames.js";
import { createSharedDevice } from "../../src/client/shared-device.js";
import { clientKinds, serverKinds } from "../../src/protocol/frames.js";
import { VirtualClock } from "../support/virtual-clock.js";
import { connected, stage } from "./device-stage.js";
import { FakeEdge, tokenFor } from "./fake-edge.js";
import { FakeBrowser } from "./fake-tabs.js";

const names = new Set(["idle", "connecting", "attached", "waiting", "stopped"]);
const kinds = Object.values(serverKinds);
const small = fc.nat(5);
const directive = fc.record(
  {
    do: fc.constantFrom("reconnect", "kick", "heartbeat", "config", "other"),
    afterMs: fc.oneof(small, fc.anything()),
    heartbeatMs: fc.oneof(fc.nat(100_000), fc.anything()),
    edges: fc.oneof(fc.array(fc.record({ url: fc.webUrl() })), fc.anything()),
  },
  { requiredKeys: ["do"] },
);
const frame = fc.oneof(
  fc.tuple(fc.constantFrom(...kinds), fc.jsonValue(), fc.jsonValue(), fc.jsonValue()),
  fc.tuple(
    fc.constant(serverKinds.message),
    small,
    small,
    small,
    small,
    fc.string(),
    fc.constant(null),
    fc.jsonValue(),
  ),
  fc.tuple(
    fc.constant(serverKinds.attached),
    small,
    small,
    small,
    fc.constant({ app: "demo", uid: "alice", device: "d" }),
  ),
  fc.tuple(fc.constant(serverKinds.directive), directive),
  fc.tuple(
    fc.constant(serverKinds.answer),
    small,
    small,
    fc.constantFrom(null, "NO"),
    fc.jsonValue(),
  ),
);
const step = fc.oneof(
  { weight: 6, arbitrary: frame.map((value) => ({ frame: value as unknown[] })) },
  { weight: 1, arbitrary: fc.nat(40_000).map((passMs) => ({ passMs })) },
  { weight: 1, arbitrary: fc.constantFrom(1000, 1006, 4000, 4005, 4505).map((code) => ({ code })) },
);

describe("a hostile edge", () => {
  test("makes no frame throw", () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 64 }),
        fc.string(),
        fc.jsonValue(),
        (bytes, text, value) => {
          decodeServerFrame(bytes);
          decodeServerFrame(text);
          for (const kind of kinds)
            decodeServerFrame(JSON.stringify([kind, value, value, value, value]));
        },
      ),
      { numRuns: 2_000 },
    );
  });

  // The socket threw on the reason, and stayed open behind a device that said it had stopped.
  test("that kicks with a long reason is left", async () => {
    const { edge, clock, device } = await connected();
    const reason = "schlüssig ".repeat(40);
    edge.socket.reply([serverKinds.directive, { do: "kick", reason }]);
    equal(edge.socket.closedWith, 3009);
    deepEqual(device.state, { name: "stopped", code: 3009, reason });
    equal(clock.pendingTimers, 0);
    device.connect();
    await clock.settle();
    edge.socket.open();
    edge.socket.welcome();
    edge.socket.reply([serverKinds.refused, 0, "CODE".repeat(100), "words"]);
    equal(edge.socket.closedWith, 3005);
  });

  test("cannot make a timer that no platform counts to", async () => {
    const { edge, clock, device } = stage();
    device.connect();
    await clock.settle();
    const delays: number[] = [];
    const after = clock.after.bind(clock);
    clock.after = (delayMs, callback) => {
      delays.push(delayMs);
      return after(delayMs, callback);
    };
    edge.socket.open();
    edge.socket.welcome(1e12);
    edge.socket.attached(1, 0);
    ok(Math.max(...delays) < 2 ** 31, delays.join(" "));
    device.close();
  });

  test("cannot say that no ack fits into its frames", async () => {
    for (const frameBytesMax of [0, 10, -1, "a", null, Number.NaN]) {
      const { edge, clock, device } = stage();
      device.connect();
      await clock.settle();
      edge.socket.open();
      edge.socket.reply([serverKinds.welcome, { v: 1, heartbeatMs: 1_000, frameBytesMax }]);
      equal(edge.socket.closedWith, 3001, String(frameBytesMax));
      device.close();
    }
  });

  // Its frame did not decode: the device came back for it again and again.
  test("may send a service's own map that looks like bytes and is none", async () => {
    const { edge, taken } = await connected({ protocol: "belfry.v1.json" });
    const body = { $base64: "no base64!" };
    edge.socket.reply([serverKinds.message, 0, 1, 1, 0, "m1", null, body]);
    deepEqual(taken[0]?.body, body);
  });

  test("leaves a device in one of its states, with at most one connection and a few timers", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 40 }), async (steps) => {
        const { edge, clock, device } = stage({ url: "ws://edge", protocol: "belfry.v1.json" });
        device.connect();
        await clock.settle();
        edge.socket.open();
        edge.socket.welcome(10_000, [clientKinds.tell, clientKinds.call]);
        for (const one of steps) {
          if ("passMs" in one) await clock.advanceAndSettle(one.passMs);
          else if ("code" in one) edge.socket.drop(one.code);
          else if (edge.socket.closedWith === undefined) edge.socket.reply(one.frame);
          await clock.settle();
          if (edge.socket.readyState === 0) edge.socket.accept();
          ok(names.has(device.state.name));
          const alive = edge.sockets.filter(
            (socket) => socket.closedWith === undefined && socket.readyState < 3,
          );
          ok(alive.length <= 1, `${alive.length} connections`);
          ok(clock.pendingTimers < 10, `${clock.pendingTimers} timers`);
        }
        device.close();
        await clock.settle();
        ok(clock.pendingTimers === 0, `${clock.pendingTimers} timers after close`);
      }),
      { numRuns: 200 },
    );
  });
});

test("a channel on which strangers speak leaves tabs as they are", async () => {
  const browser = new FakeBrowser();
  const clock = new VirtualClock();
  const edge = new FakeEdge();
  const open = () =>
    createSharedDevice({
      ...{ share: "alice", url: "ws://edge", tabs: browser.tab(), clock },
      ...{ socket: edge.constructorForClients, storage: { get: () => null, set: () => {} } },
      getToken: async () => tokenFor("alice"),
      onMessage: () => {},
    });
  const [first, second] = [open(), open()];
  for (const device of [first, second]) device.connect();
  await clock.settle();
  edge.socket.accept();
  const stranger = browser.open("belfry:belfry.alice.alice");
  for (const data of [
    null,
    7,
    {},
    { belfry: 2 },
    { belfry: 1, message: 7 },
    { belfry: 1, message: {} },
  ]) {
    stranger.postMessage(data);
  }
  stranger.postMessage({ belfry: 1, message: { kind: "from a later version" } });
  await clock.settle();
  for (const device of [first, second]) ok(device.state.name === "attached");
});
