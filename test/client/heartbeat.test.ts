/** How a device finds the heartbeat that its networks bear. */
import { deepEqual, equal, ok } from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { Heartbeats } from "../../src/client/heartbeat-memory.js";
import {
  afterBorne,
  afterSilence,
  type HeartbeatMemory,
  heartbeatLimits,
  nothingKnown,
  wantedHeartbeatMs,
} from "../../src/client/heartbeat-plan.js";
import { memoryStorage } from "../../src/client/platform.js";
import { clientKinds, serverKinds } from "../../src/protocol/frames.js";
import { VirtualClock } from "../support/virtual-clock.js";
import { connected, stage } from "./device-stage.js";
import { FakeSurroundings } from "./fake-surroundings.js";

/** A network that forgets a connection after a silence of `forgetsMs`, and an edge that obeys. */
function settle(forgetsMs: number, silences: number): { tried: number[]; memory: HeartbeatMemory } {
  let memory = nothingKnown;
  let wallMs = 0;
  const tried: number[] = [];
  for (let at = 0; at < silences; at++) {
    const intervalMs = wantedHeartbeatMs(memory, false, heartbeatLimits) ?? 30_000;
    wallMs += intervalMs;
    tried.push(intervalMs);
    const after = intervalMs < forgetsMs ? afterBorne : afterSilence;
    memory = after(memory, intervalMs, wallMs, heartbeatLimits);
  }
  return { tried, memory };
}

describe("the plan of heartbeats", () => {
  test("grows to the bound on a network that bears it", () => {
    const { tried } = settle(Number.POSITIVE_INFINITY, 60);
    deepEqual([...new Set(tried)], [30_000, 45_000, 67_500, 101_250, 151_875, 227_812, 240_000]);
  });

  test("settles below what a network forgets after, and loses it no more that day", () => {
    const { tried } = settle(100_000, 200);
    const lost = tried.filter((ms) => ms >= 100_000);
    deepEqual(lost, [101_250]);
    equal(tried.at(-1), 81_000);
  });

  test("shrinks to the least that is worth it where nothing is borne", () => {
    equal(settle(1, 20).tried.at(-1), 15_000);
  });

  test("does not blame an interval that was borne before for one loss", () => {
    let memory = afterBorne(nothingKnown, 30_000, 0, heartbeatLimits);
    memory = afterSilence(memory, 30_000, 1, heartbeatLimits);
    equal(memory.wantedMs, undefined);
    memory = afterSilence(memory, 30_000, 2, heartbeatLimits);
    equal(memory.wantedMs, 15_000);
  });

  test("tries longer ones again after a day", () => {
    let memory = afterSilence(nothingKnown, 60_000, 0, heartbeatLimits);
    const grow = (wallMs: number): number | undefined => {
      for (let at = 0; at < 5; at++) memory = afterBorne(memory, 45_000, wallMs, heartbeatLimits);
      return memory.wantedMs;
    };
    equal(grow(1_000), 48_000);
    equal(grow(86_400_000), 67_500);
  });

  test("stays in its bounds, whatever happens", () => {
    const step = fc.record({
      isBorne: fc.boolean(),
      intervalMs: fc.integer({ min: 1, max: 1_000_000 }),
      wallMs: fc.integer({ min: -1e9, max: 1e9 }),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), fc.boolean(), (steps, isInFront) => {
        let memory = nothingKnown;
        for (const { isBorne, intervalMs, wallMs } of steps) {
          const after = isBorne ? afterBorne : afterSilence;
          memory = after(memory, intervalMs, wallMs, heartbeatLimits);
          const wantedMs = wantedHeartbeatMs(memory, isInFront, heartbeatLimits) ?? 15_000;
          ok(wantedMs >= 15_000 && wantedMs <= (isInFront ? 60_000 : 240_000), `${wantedMs}`);
        }
      }),
    );
  });
});

describe("what is remembered of heartbeats", () => {
  test("is of one type of network, and outlasts a reload", async () => {
    const storage = memoryStorage();
    const clock = new VirtualClock();
    const open = async (): Promise<Heartbeats> => {
      const made = new Heartbeats(clock, heartbeatLimits, storage, "p.", () => {});
      await made.load();
      return made;
    };
    const first = await open();
    for (let at = 0; at < 5; at++) first.onPing("wifi", 30_000, 30_000);
    first.onSilence("cellular", 30_000);
    const second = await open();
    equal(second.wantedMs("wifi", true), 45_000);
    equal(second.wantedMs("cellular", true), 15_000);
    equal(second.wantedMs("ethernet", true), undefined);
    await storage.set("p.heartbeat", '{"v":1,"wifi":{"wantedMs":"x","lostMs":-1}}');
    equal((await open()).wantedMs("wifi", true), undefined);
  });

  test("counts only whole silences: a ping behind other traffic proves nothing", () => {
    const made = new Heartbeats(new VirtualClock(), heartbeatLimits, memoryStorage(), "", () => {});
    for (let at = 0; at < 20; at++) equal(made.onPing("wifi", 20_000, 30_000), false);
    equal(made.wantedMs("wifi", true), undefined);
  });
});

const network = { current: () => "wifi" as const, onChange: () => () => {} };

describe("a device", () => {
  test("says at hello what it is connected by, and asks for what that network bore", async () => {
    const storage = memoryStorage();
    const first = await connected({ storage, network });
    equal(first.edge.socket.hello.network, "wifi");
    equal(first.edge.socket.hello.heartbeatMs, undefined);
    for (let beat = 0; beat < 5; beat++) {
      first.clock.advance(10_000);
      first.edge.socket.reply([serverKinds.ping, beat]);
    }
    deepEqual(first.edge.socket.ofKind(clientKinds.tell), [], "this edge takes no such frame");
    first.device.close();
    const second = stage({ storage, network });
    second.device.connect();
    await second.clock.settle();
    second.edge.socket.open();
    equal(second.edge.socket.hello.heartbeatMs, 15_000);
    second.device.close();
  });

  test("asks an edge that listens for longer ones on the live connection, and in the background for more", async () => {
    const around = new FakeSurroundings();
    const { appState } = around;
    const { edge, clock, device } = stage({ network, appState });
    device.connect();
    await clock.settle();
    edge.socket.open();
    edge.socket.welcome(60_000, [clientKinds.tell]);
    edge.socket.attached(1, 0);
    for (let beat = 0; beat < 5; beat++) {
      clock.advance(60_000);
      edge.socket.reply([serverKinds.ping, beat]);
    }
    const asked = { app: "front", network: "wifi", heartbeatMs: 60_000 };
    deepEqual(edge.socket.ofKind(clientKinds.tell).at(-1), [6, asked]);
    around.become({ app: "background" });
    const more = { app: "background", network: "wifi", heartbeatMs: 90_000 };
    deepEqual(edge.socket.ofKind(clientKinds.tell).at(-1), [6, more]);
    edge.socket.reply([serverKinds.directive, { do: "heartbeat", heartbeatMs: 90_000 }]);
    clock.advance(224_999);
    equal(device.state.name, "attached");
    clock.advance(1);
    equal(edge.socket.closedWith, 3002);
    device.close();
  });

  test("tells at the attach what changed since its hello", async () => {
    const around = new FakeSurroundings();
    const { appState } = around;
    const { edge, clock, device } = stage({ appState });
    device.connect();
    await clock.settle();
    edge.socket.open();
    around.become({ app: "background" });
    edge.socket.welcome(60_000, [clientKinds.tell]);
    edge.socket.attached(1, 0);
    edge.socket.attached(1, 1);
    deepEqual(edge.socket.ofKind(clientKinds.tell), [[6, { app: "background" }]]);
    device.close();
  });

  test("asks for shorter ones after a silent loss", async () => {
    const { edge, clock, device } = stage({ network });
    device.connect();
    await clock.settle();
    edge.socket.open();
    edge.socket.welcome(60_000);
    edge.socket.attached(1, 0);
    await clock.advanceAndSettle(150_000);
    equal(edge.socket.closedWith, 3002);
    await clock.advanceAndSettle(500);
    edge.socket.open();
    equal(edge.socket.hello.heartbeatMs, 30_000);
    device.close();
  });

  test("waits for what is not read yet when its timer comes late, once", async () => {
    const { edge, clock, device } = await connected();
    // A page that was frozen: time goes on, and its timers do not.
    clock.oversleep(60_000);
    equal(device.state.name, "attached");
    clock.advance(4_000);
    edge.socket.reply([serverKinds.ping, 1]);
    clock.advance(20_000);
    equal(device.state.name, "attached");
    clock.oversleep(60_000);
    clock.advance(4_999);
    equal(device.state.name, "attached");
    clock.advance(1);
    equal(edge.socket.closedWith, 3002);
    device.close();
  });

  test("waits no second time when all its timers come late", async () => {
    const { edge, clock, device } = await connected();
    clock.oversleep(60_000);
    clock.oversleep(60_000);
    equal(edge.socket.closedWith, 3002);
    device.close();
  });

  test("ignores a heartbeat that is none", async () => {
    const { edge, clock, device } = await connected();
    for (const heartbeatMs of [0, -1, "x", 1e12, null]) {
      edge.socket.reply([serverKinds.directive, { do: "heartbeat", heartbeatMs }]);
    }
    clock.advance(25_000);
    equal(edge.socket.closedWith, 3002);
    device.close();
  });
});
