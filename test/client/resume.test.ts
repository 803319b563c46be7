/** A device that comes back: in order, once, by order of an edge and over a reload. */
import { deepEqual, equal, ok } from "node:assert/strict";
import { describe, test } from "node:test";
import { memoryStorage } from "../../src/client/platform.js";
import { clientKinds, serverKinds } from "../../src/protocol/frames.js";
import { connected, ids, phases, slowApp, stage } from "./device-stage.js";
import { FakeSurroundings } from "./fake-surroundings.js";

describe("an edge that sends its clients away", () => {
  test("has each come back once, within the window, with all that it took acknowledged", async () => {
    const { edge, clock, taken, states } = await connected({ urls: ["ws://a", "ws://b"] });
    edge.socket.message(1, 0);
    const old = edge.socket;
    old.reply([serverKinds.directive, { do: "reconnect", afterMs: 1_000, spreadMs: 4_000 }]);
    await clock.advanceAndSettle(2_999);
    equal(edge.sockets.length, 1);
    old.message(2, 1);
    await clock.advanceAndSettle(1);
    equal(old.closedWith, 3008);
    deepEqual(old.ofKind(clientKinds.ack).at(-1), [2, 0, 1, 2]);
    equal(edge.sockets.length, 2, "at once: nothing failed");
    ok(edge.socket.url !== old.url, "and not where it was sent away");
    edge.socket.accept(1, 2);
    deepEqual(edge.socket.hello.position, [1, 2]);
    edge.socket.message(3, 2);
    deepEqual(ids(taken), ["m1", "m2", "m3"]);
    deepEqual(phases(states), ["connecting", "attached", "connecting", "attached"]);
    const last = states.at(-1);
    equal(last?.name === "attached" && last.isResumed, true);
  });

  test("may say where to, but not to a place without TLS", async () => {
    const { edge, clock } = await connected({ url: "wss://a" });
    const edges = [{ url: "ws://evil" }, { url: "wss://b", idc: "y" }, 7];
    edge.socket.reply([serverKinds.directive, { do: "reconnect", edges }]);
    await clock.advanceAndSettle(0);
    equal(edge.socket.url, "wss://b");
    edge.socket.accept();
    edge.socket.drop();
    await clock.advanceAndSettle(1_000);
    equal(edge.socket.url, "wss://b", "the last good one");
  });

  test("is obeyed at once only the first time: two edges may send clients to each other", async () => {
    const { edge, clock, device } = await connected();
    for (let round = 0; round < 20; round++) {
      if (device.state.name === "waiting") break;
      edge.socket.reply([serverKinds.directive, { do: "reconnect" }]);
      await clock.advanceAndSettle(0);
      edge.socket.accept();
    }
    equal(device.state.name, "waiting");
    equal(edge.sockets.length, 2);
    device.close();
    equal(clock.pendingTimers, 0);
  });

  test("that ends the connection before the time has come leaves no second return", async () => {
    const { edge, clock } = await connected();
    edge.socket.reply([serverKinds.directive, { do: "reconnect", afterMs: 60_000 }]);
    edge.socket.drop(4000);
    equal(clock.pendingTimers, 1, "the retry's");
    await clock.advanceAndSettle(500);
    edge.socket.accept();
    for (let beat = 0; beat < 6; beat++) {
      await clock.advanceAndSettle(15_000);
      edge.socket.reply([serverKinds.ping, beat]);
    }
    equal(edge.sockets.length, 2);
  });

  test("waits for what the app has in its hands, and hands over what follows in order", async () => {
    const { finish, started, onMessage } = slowApp();
    const { edge, clock } = await connected({ onMessage });
    edge.socket.message(1, 0);
    edge.socket.message(2, 1);
    edge.socket.reply([serverKinds.directive, { do: "reconnect" }]);
    await clock.advanceAndSettle(0);
    edge.socket.accept(1, 0);
    for (const seq of [1, 2, 3]) edge.socket.message(seq, seq - 1);
    for (let step = 0; step < 3; step++) {
      await clock.settle();
      finish.shift()?.();
    }
    await clock.advanceAndSettle(50);
    deepEqual(started, ["m1", "m2", "m3"]);
    deepEqual(edge.socket.ofKind(clientKinds.ack).at(-1), [2, 0, 1, 3]);
  });

  test("for good is not followed by a return", async () => {
    const { edge, clock, device } = await connected();
    edge.socket.message(1, 0);
    edge.socket.reply([serverKinds.directive, { do: "kick", reason: "signed out elsewhere" }]);
    deepEqual(device.state, { name: "stopped", code: 3009, reason: "signed out elsewhere" });
    deepEqual(edge.socket.ofKind(clientKinds.ack), [[2, 0, 1, 1]]);
    equal(edge.socket.closedWith, 3009);
    await clock.advanceAndSettle(3_600_000);
    equal(edge.sockets.length, 1);
    equal(clock.pendingTimers, 0);
  });

  test("with a directive of a later version is not obeyed, and not left", async () => {
    const { edge, device } = await connected();
    edge.socket.reply([serverKinds.directive, { do: "dance", steps: 3 }]);
    equal(device.state.name, "attached");
  });
});

describe("an attach", () => {
  test("that is ahead of the app does not go on where it was", async () => {
    const { edge, clock, device } = await connected();
    edge.socket.message(1, 0);
    edge.socket.drop();
    await clock.advanceAndSettle(10_000);
    edge.socket.accept(1, 3);
    const { state } = device;
    equal(state.name === "attached" && state.isResumed, false);
  });

  test("says whether it goes on where the app was", async () => {
    const { edge, clock, states } = await connected();
    const isResumed = (): boolean | undefined => {
      const state = states.at(-1);
      return state?.name === "attached" ? state.isResumed : undefined;
    };
    equal(isResumed(), false, "the first one");
    for (const [generation, expected] of [
      [1, true],
      [7, false],
      [7, true],
    ] as const) {
      edge.socket.drop();
      await clock.advanceAndSettle(10_000);
      edge.socket.accept(generation, 0);
      equal(isResumed(), expected, `generation ${generation}`);
    }
  });
});

describe("what was shown", () => {
  test("is acknowledged and stored when the app goes to the background: it may not come back", async () => {
    const around = new FakeSurroundings();
    const storage = memoryStorage();
    const { edge } = await connected({ appState: around.appState, storage });
    edge.socket.message(1, 0);
    around.become({ app: "background" });
    deepEqual(edge.socket.ofKind(clientKinds.ack), [[2, 0, 1, 1]]);
    ok(String(await storage.get("belfry.seen")).includes("m1"));
  });

  test("on another channel is not shown again, after a reload either", async () => {
    const storage = memoryStorage();
    const first = await connected({ storage });
    equal(first.device.isNew("m2"), true);
    equal(first.device.isNew("m2"), false);
    first.edge.socket.message(1, 0);
    first.edge.socket.message(2, 1);
    deepEqual(ids(first.taken), ["m1"]);
    equal(first.device.isNew("m1"), false);
    const second = stage({ storage });
    second.device.connect();
    await second.clock.settle();
    second.edge.socket.accept(9, 0);
    second.edge.socket.message(1, 0, "m2", 9);
    second.edge.socket.message(2, 1, "m3", 9);
    deepEqual(ids(second.taken), ["m3"]);
  });

  // A page that a tap opens asks before it connects.
  test("before a reload is not new before the device has connected", async () => {
    const storage = memoryStorage();
    const first = await connected({ storage });
    first.edge.socket.message(1, 0);
    await first.clock.advanceAndSettle(50);
    equal(stage({ storage }).device.isNew("m1"), false);
  });

  test("on another channel before the device has connected is not shown again", async () => {
    const made = stage();
    equal(made.device.isNew("m1"), true);
    made.device.connect();
    equal(made.device.isNew("m2"), true);
    await made.clock.settle();
    made.edge.socket.accept();
    for (const seq of [1, 2, 3]) made.edge.socket.message(seq, seq - 1);
    deepEqual(ids(made.taken), ["m3"]);
  });

  test("is remembered within a bound, of which the storage is told the newest", async () => {
    const storage = memoryStorage();
    const { device, edge } = await connected({ storage });
    edge.socket.message(1, 0);
    for (let at = 0; at < 5_000; at++) device.isNew(`n${at}`);
    equal(device.isNew("n0"), true, "forgotten");
    equal(device.isNew("n4999"), false);
    const stored = JSON.parse(String(await storage.get("belfry.seen"))) as { ids: string[] };
    equal(stored.ids.length, 256);
    equal(stored.ids.at(-1), "n0");
  });
});
