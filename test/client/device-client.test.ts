/** A device against a fake edge, on virtual time. */
import { deepEqual, equal, ok, throws } from "node:assert/strict";
import { describe, test } from "node:test";
import {
  createDevice,
  type DeviceMessage,
  type DeviceStorage,
} from "../../src/client/device-client.js";
import { memoryStorage } from "../../src/client/platform.js";
import { clientKinds, serverKinds } from "../../src/protocol/frames.js";
import { VirtualClock } from "../support/virtual-clock.js";
import { connected, ids, phases, slowApp, stage } from "./device-stage.js";
import { tokenFor } from "./fake-edge.js";

describe("connecting", () => {
  test("says hello first, with a device, a counter and where to start", async () => {
    const { edge, clock, device } = stage({ start: "tail:5", platform: "web" });
    device.connect();
    await clock.settle();
    equal(edge.socket.binaryType, "arraybuffer");
    deepEqual(edge.socket.protocols, ["belfry.v1"]);
    edge.socket.open();
    const { device: name, ...hello } = edge.socket.hello;
    equal(String(name).length, 20);
    deepEqual(hello, {
      v: 1,
      token: tokenFor("alice"),
      connect: clock.wallMs(),
      start: "tail:5",
      platform: "web",
      app: "front",
    });
  });

  test("tells its states", async () => {
    const { states, device } = await connected();
    device.close();
    deepEqual(phases(states), ["connecting", "attached", "idle"]);
    const attached = states[1];
    ok(attached?.name === "attached");
    equal(attached.uid, "alice");
  });

  test("keeps the device and counts up over a reload", async () => {
    const storage = memoryStorage();
    const first = await connected({ storage });
    const second = await connected({ storage, clock: new VirtualClock(0, 1_000) });
    const [before, after] = [first.edge.socket.hello, second.edge.socket.hello];
    equal(after.device, before.device);
    // The second clock is far behind: the counter grows all the same.
    equal(after.connect, Number(before.connect) + 1);
  });

  // A device without a clock of its own boots in 1970: it was turned away for good.
  test("counts by the edge's clock where its own is behind", async () => {
    const clock = new VirtualClock(1_000, 0);
    const { edge, device } = stage({ clock, device: "kiosk" });
    const serverTimeMs = Date.UTC(2026, 0, 1);
    const greet = (): void => {
      edge.socket.open();
      edge.socket.reply([serverKinds.welcome, { v: 1, heartbeatMs: 10_000, serverTimeMs }]);
    };
    device.connect();
    await clock.settle();
    greet();
    equal(edge.socket.hello.connect, 1_000);
    edge.socket.drop(4505, "a newer connection");
    equal(phases([device.state])[0], "waiting");
    await clock.advanceAndSettle(1_000);
    greet();
    equal(edge.socket.hello.connect, serverTimeMs);
    edge.socket.drop(4505, "a newer connection");
    equal(phases([device.state])[0], "stopped", "another one is there indeed");
    device.connect();
    await clock.settle();
    edge.socket.open();
    ok(Number(edge.socket.hello.connect) > serverTimeMs);
    edge.socket.reply([serverKinds.welcome, { heartbeatMs: 10_000, serverTimeMs: 2 ** 53 - 1 }]);
    edge.socket.attached(1, 0);
    edge.socket.drop(4505, "a newer connection");
    equal(phases([device.state])[0], "stopped");
  });

  test("fetches a fresh token for each connect", async () => {
    let serial = 0;
    const { edge, clock } = await connected({
      getToken: async () => tokenFor("alice", serial++),
    });
    edge.socket.drop(4003);
    await clock.advanceAndSettle(500);
    edge.socket.open();
    deepEqual(
      edge.sockets.map((socket) => socket.hello.token),
      [tokenFor("alice", 0), tokenFor("alice", 1)],
    );
  });

  test("takes the next address with each attempt, in the user's own order", async () => {
    const { edge, clock, device } = stage({ urls: ["ws://a", "ws://b"] });
    device.connect();
    await clock.settle();
    for (let attempt = 0; attempt < 2; attempt++) {
      edge.socket.drop();
      await clock.advanceAndSettle(1_000);
    }
    deepEqual(
      edge.sockets.map(({ url }) => url),
      ["ws://b", "ws://a", "ws://b"],
    );
  });

  test("speaks JSON when asked to", async () => {
    const { edge, clock, taken } = await connected({ protocol: "belfry.v1.json" });
    edge.socket.reply([
      serverKinds.message,
      ...[0, 1, 1, 0, "m1", null, { bytes: Uint8Array.of(1, 2) }],
    ]);
    clock.advance(50);
    deepEqual(taken[0]?.body, { bytes: Uint8Array.of(1, 2) });
    deepEqual(edge.socket.ofKind(clientKinds.ack), [[2, 0, 1, 1]]);
  });

  test("needs an address and a WebSocket", () => {
    const { options } = stage();
    const { url: _url, ...without } = options;
    throws(() => createDevice(without), /url/);
    const { socket: _socket, ...noSocket } = options;
    if (globalThis.WebSocket === undefined) throws(() => createDevice(noSocket), /`ws`/);
  });
});

describe("coming back", () => {
  test("backs off with full jitter, doubling up to the cap", async () => {
    const { edge, clock, states, device } = stage({ backoff: { baseMs: 100, capMs: 1_000 } });
    device.connect();
    await clock.settle();
    const waits: number[] = [];
    for (let attempt = 0; attempt < 6; attempt++) {
      edge.socket.drop();
      const state = states.at(-1);
      ok(state?.name === "waiting");
      waits.push(state.retryInMs);
      await clock.advanceAndSettle(state.retryInMs);
    }
    deepEqual(waits, [50, 100, 200, 400, 500, 500]);
    equal(edge.sockets.length, 7);
  });

  test("starts the backoff anew only after an attach that lasted", async () => {
    const { edge, clock, states } = await connected();
    const dropAndReturn = async (): Promise<number> => {
      edge.socket.drop();
      const state = states.at(-1);
      ok(state?.name === "waiting");
      await clock.advanceAndSettle(state.retryInMs);
      edge.socket.accept();
      return state.retryInMs;
    };
    equal(await dropAndReturn(), 250);
    equal(await dropAndReturn(), 500);
    clock.advance(9_999);
    equal(await dropAndReturn(), 1_000);
    clock.advance(10_000);
    equal(await dropAndReturn(), 250);
  });

  for (const code of [1000, 1001, 1006, 4000, 4001, 4002, 4003, 4004, 4005, 4006, 4499]) {
    test(`does so after ${code}`, async () => {
      const { edge, device } = await connected();
      edge.socket.drop(code);
      equal(device.state.name, "waiting");
    });
  }

  for (const code of [4500, 4501, 4502, 4503, 4504, 4505, 4999]) {
    test(`does not after ${code}`, async () => {
      const { edge, clock, device } = await connected();
      edge.socket.drop(code, "because");
      deepEqual(device.state, { name: "stopped", code, reason: "because" });
      await clock.advanceAndSettle(3_600_000);
      equal(edge.sockets.length, 1);
      equal(clock.pendingTimers, 0);
      device.connect();
      await clock.settle();
      equal(edge.sockets.length, 2);
    });
  }

  test("is tried at once when the app connects while it waits", async () => {
    const { edge, clock, device } = await connected();
    edge.socket.drop();
    device.connect();
    await clock.settle();
    equal(edge.sockets.length, 2);
    await clock.advanceAndSettle(10_000);
    equal(edge.sockets.length, 2);
  });

  // A handler of states that connects was asked for a token without end, in one turn.
  test("is not hurried by an app that connects in a circle", async () => {
    let asked = 0;
    const { clock, device } = stage({
      getToken: () => {
        asked += 1;
        return asked > 1_000 ? new Promise<string>(() => {}) : Promise.reject(new Error("no"));
      },
      onState: ({ name }) => {
        if (name === "waiting") device.connect();
      },
    });
    device.connect();
    await clock.settle();
    ok(asked <= 5, `${asked} times`);
    await clock.advanceAndSettle(60_000);
    ok(asked <= 5 + 12 + 10, `${asked} times`);
    device.close();
    equal(clock.pendingTimers, 0);
  });

  // It stood still in `connecting` for ever, and its promise was rejected unseen.
  test("follows a token that is none", async () => {
    const answers: unknown[] = [undefined, { token: "x" }, ""];
    const { edge, clock, device, errors } = stage({
      getToken: async () => (answers.length > 0 ? answers.shift() : tokenFor("alice")) as string,
    });
    device.connect();
    await clock.advanceAndSettle(5_000);
    deepEqual(
      errors.map(({ code }) => code),
      ["TOKEN", "TOKEN", "TOKEN"],
    );
    equal(edge.sockets.length, 1);
  });

  test("follows an adapter that throws", async () => {
    let isBroken = false;
    const { edge, clock, device, errors } = stage({
      network: {
        current: () => {
          if (isBroken) throw new Error("a native module");
          return "wifi";
        },
        onChange: () => () => {},
      },
    });
    device.connect();
    isBroken = true;
    await clock.settle();
    deepEqual([device.state.name, errors[0]?.code], ["waiting", "CONNECTION"]);
    isBroken = false;
    await clock.advanceAndSettle(500);
    equal(edge.sockets.length, 1);
  });

  test("follows a token that cannot be had, or does not come", async () => {
    const answers = [
      () => Promise.reject(new Error("offline")),
      () => new Promise<string>(() => {}),
      () => Promise.resolve(tokenFor("alice")),
    ];
    const { edge, clock, device, errors } = stage({
      getToken: () => answers.shift()?.() ?? Promise.reject(new Error("asked too often")),
    });
    const phase = (): string => device.state.name;
    device.connect();
    await clock.settle();
    equal(phase(), "waiting");
    await clock.advanceAndSettle(250);
    equal(phase(), "connecting");
    await clock.advanceAndSettle(30_000);
    equal(phase(), "waiting");
    deepEqual(
      errors.map(({ code }) => code),
      ["TOKEN", "TOKEN"],
    );
    await clock.advanceAndSettle(500);
    equal(edge.sockets.length, 1);
  });

  test("follows an attach that does not come in time", async () => {
    const { edge, clock, device } = stage();
    device.connect();
    await clock.settle();
    edge.socket.open();
    edge.socket.welcome();
    await clock.advanceAndSettle(15_000);
    equal(edge.socket.closedWith, 3004);
    equal(device.state.name, "waiting");
  });

  test("follows an attach that is refused", async () => {
    const { edge, clock, device } = stage();
    device.connect();
    await clock.settle();
    edge.socket.open();
    edge.socket.reply([serverKinds.refused, 0, "NOT_READY", "later"]);
    equal(edge.socket.closedWith, 3005);
    equal(device.state.name, "waiting");
  });

  test("follows a frame that does not decode, but not one of a later version", async () => {
    const { edge, device } = await connected();
    edge.socket.reply([99, "later"]);
    equal(device.state.name, "attached");
    edge.socket.onmessage?.({ data: Uint8Array.of(0xc1).buffer });
    equal(edge.socket.closedWith, 3001);
    equal(device.state.name, "waiting");
  });

  test("does not follow what a closed connection still says", async () => {
    const { edge, clock, device, taken } = await connected();
    const old = edge.socket;
    device.close();
    equal(old.closedWith, 1000);
    old.message(1, 0);
    old.drop(4505);
    equal(device.state.name, "idle");
    device.connect();
    await clock.settle();
    edge.socket.accept();
    old.drop(4505);
    equal(device.state.name, "attached");
    equal(taken.length, 0);
  });

  test("leaves no timer behind when it is closed in any phase", async () => {
    const { edge, clock, device } = stage();
    const closes = async (): Promise<void> => {
      device.close();
      await clock.settle();
      equal(clock.pendingTimers, 0);
      device.connect();
      await clock.settle();
    };
    device.connect();
    await closes();
    edge.socket.open();
    await closes();
    edge.socket.accept();
    edge.socket.message(1, 0);
    edge.socket.message(9, 8);
    await closes();
    edge.socket.drop();
    await closes();
  });
});

describe("heartbeats", () => {
  test("are answered with their nonce", async () => {
    const { edge } = await connected();
    edge.socket.reply([serverKinds.ping, 77]);
    deepEqual(edge.socket.received.at(-1), [clientKinds.pong, 77]);
  });

  test("that stop coming end the connection after two and a half", async () => {
    const { edge, clock, device } = await connected();
    clock.advance(20_000);
    edge.socket.reply([serverKinds.ping, 1]);
    clock.advance(24_999);
    equal(device.state.name, "attached");
    clock.advance(1);
    equal(edge.socket.closedWith, 3002);
    equal(device.state.name, "waiting");
  });
});

describe("tokens", () => {
  test("are refreshed on the live connection", async () => {
    let serial = 0;
    const { edge, clock } = await connected({ getToken: async () => tokenFor("alice", serial++) });
    edge.socket.reply([serverKinds.tokenWanted, 0, 60_000]);
    edge.socket.reply([serverKinds.tokenWanted, 0, 50_000]);
    await clock.settle();
    deepEqual(edge.socket.ofKind(clientKinds.token), [[5, 0, tokenFor("alice", 1)]]);
  });

  test("that cannot be had are reported, and the connection goes on", async () => {
    let isOnline = true;
    const { edge, clock, device, errors } = await connected({
      getToken: async () => {
        if (!isOnline) throw new Error("offline");
        return tokenFor("alice");
      },
    });
    isOnline = false;
    edge.socket.reply([serverKinds.tokenWanted, 0, 60_000]);
    await clock.settle();
    deepEqual(
      errors.map(({ code }) => code),
      ["TOKEN"],
    );
    equal(device.state.name, "attached");
  });
});

describe("messages", () => {
  test("arrive with what was said about them", async () => {
    const { edge, taken } = await connected();
    const head = { type: "chat" };
    edge.socket.reply([serverKinds.message, 0, 1, 3, 0, "0DGZRG3G80100001", head, { a: 1 }]);
    const [message] = taken;
    deepEqual(message?.position, { generation: 1, seq: 3 });
    deepEqual(message?.head, head);
    deepEqual(message?.body, { a: 1 });
    equal(typeof message?.acceptedAtMs, "number");
  });

  test("are acknowledged together, after a while", async () => {
    const { edge, clock } = await connected();
    for (let seq = 1; seq <= 5; seq++) edge.socket.message(seq, seq - 1);
    clock.advance(49);
    deepEqual(edge.socket.ofKind(clientKinds.ack), []);
    clock.advance(1);
    deepEqual(edge.socket.ofKind(clientKinds.ack), [[2, 0, 1, 5]]);
  });

  test("are acknowledged at once when many wait", async () => {
    const { edge } = await connected({ acks: { messagesMax: 3 } });
    for (let seq = 1; seq <= 7; seq++) edge.socket.message(seq, seq - 1);
    deepEqual(edge.socket.ofKind(clientKinds.ack), [
      [2, 0, 1, 3],
      [2, 0, 1, 6],
    ]);
  });

  test("are acknowledged before the app's own close", async () => {
    const { edge, device } = await connected();
    edge.socket.message(1, 0);
    device.close();
    deepEqual(edge.socket.ofKind(clientKinds.ack), [[2, 0, 1, 1]]);
  });

  test("are acknowledged only up to what the app took, one at a time", async () => {
    const { finish, started, onMessage } = slowApp();
    const { edge, clock } = await connected({ onMessage });
    for (let seq = 1; seq <= 3; seq++) edge.socket.message(seq, seq - 1);
    await clock.advanceAndSettle(1_000);
    deepEqual(started, ["m1"]);
    deepEqual(edge.socket.ofKind(clientKinds.ack), []);
    finish[0]?.();
    await clock.advanceAndSettle(50);
    deepEqual(started, ["m1", "m2"]);
    deepEqual(edge.socket.ofKind(clientKinds.ack), [[2, 0, 1, 1]]);
  });

  test("of another session or an older generation are ignored", async () => {
    const { edge, taken } = await connected();
    edge.socket.attached(2, 0);
    edge.socket.message(1, 0, "old", 1);
    edge.socket.reply([serverKinds.message, 5, 2, 1, 0, "other", null, 1]);
    edge.socket.message(1, 0, "new", 2);
    deepEqual(ids(taken), ["new"]);
  });

  test("that were received before are acknowledged again, since the ack may be lost", async () => {
    const { edge, clock, taken } = await connected();
    edge.socket.message(1, 0);
    clock.advance(50);
    edge.socket.message(1, 0);
    clock.advance(50);
    deepEqual(ids(taken), ["m1"]);
    deepEqual(edge.socket.ofKind(clientKinds.ack), [
      [2, 0, 1, 1],
      [2, 0, 1, 1],
    ]);
  });

  test("at most once go past positions and acks", async () => {
    const passed: DeviceMessage[] = [];
    const { edge, clock, taken } = await connected({ onPassing: (one) => void passed.push(one) });
    edge.socket.reply([serverKinds.passing, 0, "p1", { type: "typing" }, "…"]);
    edge.socket.reply([serverKinds.passing, 0, "p1", { type: "typing" }, "…"]);
    clock.advance(1_000);
    deepEqual(passed, [{ id: "p1", head: { type: "typing" }, body: "…" }]);
    equal(taken.length, 0);
    deepEqual(edge.socket.ofKind(clientKinds.ack), []);
  });
});

describe("a recall", () => {
  test("tells the app, and keeps from it what still waits for its turn", async () => {
    const recalled: string[] = [];
    let release: () => void = () => undefined;
    const seen: string[] = [];
    const { edge, clock, device } = await connected({
      onMessage: ({ id }) => {
        seen.push(id);
        return id === "m1" ? new Promise<void>((resolve) => (release = resolve)) : undefined;
      },
      onRecall: (id) => void recalled.push(id),
    });
    for (const seq of [1, 2, 3]) edge.socket.message(seq, seq - 1);
    edge.socket.reply([serverKinds.recalled, 0, ["m2", "m0"]]);
    release();
    await clock.settle();
    clock.advance(1_000);
    deepEqual(seen, ["m1", "m3"]);
    deepEqual(recalled, ["m2", "m0"]);
    deepEqual(device.position, { generation: 1, seq: 3 });
    deepEqual(edge.socket.ofKind(clientKinds.ack).at(-1), [2, 0, 1, 3]);
  });
});

describe("a broken chain", () => {
  test("is asked for once, and nothing is taken until it fits", async () => {
    const { edge, clock, taken } = await connected();
    edge.socket.message(1, 0);
    edge.socket.message(3, 2);
    edge.socket.message(4, 3);
    deepEqual(edge.socket.ofKind(clientKinds.resend), [[3, 0, 1, 1]]);
    for (const seq of [2, 3, 4]) edge.socket.message(seq, seq - 1);
    clock.advance(60_000);
    deepEqual(ids(taken), ["m1", "m2", "m3", "m4"]);
    deepEqual(edge.socket.ofKind(clientKinds.resend), [[3, 0, 1, 1]]);
  });

  test("is asked for again after 5 seconds, and given up after three", async () => {
    const { edge, clock, device } = await connected();
    edge.socket.message(3, 2);
    clock.advance(4_999);
    equal(edge.socket.ofKind(clientKinds.resend).length, 1);
    clock.advance(1);
    equal(edge.socket.ofKind(clientKinds.resend).length, 2);
    clock.advance(10_000);
    equal(edge.socket.ofKind(clientKinds.resend).length, 3);
    equal(edge.socket.closedWith, 3006);
    equal(device.state.name, "waiting");
  });

  test("is mended by an attach that rewinds, without showing anything twice", async () => {
    const { edge, clock, taken } = await connected();
    for (const seq of [1, 2]) edge.socket.message(seq, seq - 1);
    edge.socket.message(9, 8);
    edge.socket.attached(1, 1);
    for (const seq of [2, 3]) edge.socket.message(seq, seq - 1);
    clock.advance(50);
    deepEqual(ids(taken), ["m1", "m2", "m3"]);
    deepEqual(edge.socket.received.at(-1), [2, 0, 1, 3]);
    clock.advance(20_000);
    equal(edge.socket.ofKind(clientKinds.resend).length, 1);
  });

  test("across a new owner is asked for, never acknowledged over", async () => {
    const { edge, clock, taken } = await connected();
    edge.socket.message(1, 0);
    // The new owner goes on behind 3, which it believes was sent here.
    edge.socket.attached(1, 3);
    clock.advance(50);
    deepEqual(edge.socket.ofKind(clientKinds.resend), [[3, 0, 1, 1]]);
    deepEqual(edge.socket.ofKind(clientKinds.ack), [[2, 0, 1, 1]]);
    for (const seq of [2, 3, 4]) edge.socket.message(seq, seq - 1);
    deepEqual(ids(taken), ["m1", "m2", "m3", "m4"]);
  });

  // It asked at once each time, as fast as it was answered, and never for the last time.
  test("that every attach leaves open is given up after three requests", async () => {
    const { edge, device } = await connected();
    edge.socket.message(1, 0);
    for (let attach = 0; attach < 4 && device.state.name === "attached"; attach++) {
      edge.socket.attached(1, 3);
    }
    equal(edge.socket.ofKind(clientKinds.resend).length, 3);
    equal(edge.socket.closedWith, 3006);
    equal(device.state.name, "waiting");
  });
});

describe("over a reconnect", () => {
  test("resumes from what the app took", async () => {
    const { edge, clock } = await connected();
    edge.socket.message(1, 0);
    edge.socket.message(4, 1);
    edge.socket.drop();
    await clock.advanceAndSettle(500);
    edge.socket.open();
    deepEqual(edge.socket.hello.position, [1, 4]);
  });

  test("shows nothing twice when the last acks were lost", async () => {
    const { edge, clock, taken } = await connected();
    for (const seq of [1, 2]) edge.socket.message(seq, seq - 1);
    edge.socket.drop();
    await clock.advanceAndSettle(500);
    edge.socket.accept(1, 0);
    for (const seq of [1, 2, 3]) edge.socket.message(seq, seq - 1);
    clock.advance(50);
    deepEqual(ids(taken), ["m1", "m2", "m3"]);
    deepEqual(edge.socket.ofKind(clientKinds.ack), [[2, 0, 1, 3]]);
  });

  test("shows nothing twice in a new generation, after a reload either", async () => {
    const storage = memoryStorage();
    const first = await connected({ storage });
    for (const seq of [1, 2]) first.edge.socket.message(seq, seq - 1);
    first.device.close();
    const second = stage({ storage });
    second.device.connect();
    await second.clock.settle();
    second.edge.socket.accept(7, 0);
    second.edge.socket.message(1, 0, "m2", 7);
    second.edge.socket.message(2, 1, "m3", 7);
    second.clock.advance(50);
    deepEqual(ids(second.taken), ["m3"]);
    deepEqual(second.edge.socket.received.at(-1), [2, 0, 7, 2]);
    deepEqual(second.device.position, { generation: 7, seq: 2 });
  });

  test("waits for a handler that is still at work, and does not call it again", async () => {
    const { finish, started, onMessage } = slowApp();
    const { edge, clock } = await connected({ onMessage });
    edge.socket.message(1, 0);
    edge.socket.message(2, 1);
    edge.socket.drop();
    await clock.advanceAndSettle(500);
    edge.socket.accept(1, 0);
    for (const seq of [1, 2]) edge.socket.message(seq, seq - 1);
    await clock.advanceAndSettle(50);
    deepEqual(edge.socket.ofKind(clientKinds.ack), []);
    finish.shift()?.();
    await clock.settle();
    finish.shift()?.();
    await clock.advanceAndSettle(50);
    deepEqual(started, ["m1", "m2"]);
    deepEqual(edge.socket.ofKind(clientKinds.ack), [[2, 0, 1, 2]]);
  });

  test("of another user sends no position, and forgets what the first one took", async () => {
    const storage = memoryStorage();
    const first = await connected({ storage });
    first.edge.socket.message(1, 0);
    first.device.close();
    const second = stage({ storage, getToken: async () => tokenFor("bob") });
    second.device.connect();
    await second.clock.settle();
    second.edge.socket.open();
    equal(second.edge.socket.hello.position, undefined);
    second.edge.socket.welcome();
    second.edge.socket.attached(1, 0, "bob");
    second.edge.socket.message(1, 0);
    deepEqual(ids(second.taken), ["m1"]);
  });

  test("of another user hands over nothing more of the first one's", async () => {
    let user = "alice";
    const started: string[] = [];
    const clock = new VirtualClock();
    const { edge } = await connected({
      clock,
      getToken: async () => tokenFor(user),
      onMessage: ({ id }) => {
        started.push(id);
        return new Promise<void>((resolve) => void clock.after(1_000, resolve));
      },
    });
    for (const seq of [1, 2, 3]) edge.socket.message(seq, seq - 1);
    user = "bob";
    edge.socket.drop();
    await clock.advanceAndSettle(500);
    edge.socket.open();
    edge.socket.welcome();
    edge.socket.attached(1, 0, "bob");
    edge.socket.message(1, 0, "b1");
    await clock.advanceAndSettle(2_000);
    deepEqual(started, ["m1", "b1"]);
    deepEqual(edge.socket.ofKind(clientKinds.ack), [[2, 0, 1, 1]]);
  });

  test("sends no position with a token that does not say whose it is", async () => {
    const { edge, clock } = await connected({ getToken: async () => "opaque" });
    edge.socket.message(1, 0);
    edge.socket.drop();
    await clock.advanceAndSettle(500);
    edge.socket.accept(1, 1);
    equal(edge.socket.hello.position, undefined);
  });
});

describe("a handler that fails", () => {
  test("gets its message again, with all behind it, in order", async () => {
    const tries: string[] = [];
    let isFailing = true;
    const { edge, clock, errors } = await connected({
      onMessage: async ({ id }) => {
        tries.push(id);
        if (id === "m2" && isFailing) throw new Error("disk full");
      },
    });
    for (const seq of [1, 2, 3]) edge.socket.message(seq, seq - 1);
    await clock.settle();
    equal(edge.socket.closedWith, 3003);
    equal(errors[0]?.code, "HANDLER");
    deepEqual(tries, ["m1", "m2"]);
    isFailing = false;
    await clock.advanceAndSettle(500);
    edge.socket.accept(1, 1);
    deepEqual(edge.socket.hello.position, [1, 1]);
    for (const seq of [2, 3]) edge.socket.message(seq, seq - 1);
    await clock.advanceAndSettle(50);
    deepEqual(tries, ["m1", "m2", "m2", "m3"]);
    deepEqual(edge.socket.ofKind(clientKinds.ack), [[2, 0, 1, 3]]);
  });

  // `(message) => list.push(message)` in a program without types was a refusal, for ever.
  test("is not one that returns what is no promise", async () => {
    const made: string[] = [];
    const onMessage = ({ id }: DeviceMessage) => made.push(id) as unknown as undefined;
    const { edge, clock, device, errors } = await connected({ onMessage });
    device.onType("length", onMessage);
    edge.socket.message(1, 0);
    edge.socket.reply([serverKinds.message, 0, 1, 2, 1, "m2", { type: "length" }, null]);
    await clock.advanceAndSettle(50);
    deepEqual([made, errors], [["m1", "m2"], []]);
    deepEqual(edge.socket.ofKind(clientKinds.ack), [[2, 0, 1, 2]]);
  });

  test("of states or of errors changes nothing", async () => {
    const { device, clock } = await connected({
      onState: () => {
        throw new Error("view");
      },
      onError: () => {
        throw new Error("log");
      },
    });
    equal(device.state.name, "attached");
    device.on("state", async () => Promise.reject(new Error("a view that loads")));
    device.close();
    await clock.settle();
  });
});

describe("a storage that fails", () => {
  test("is reported, and the device works without it", async () => {
    const { edge, taken, errors } = await connected({
      storage: {
        get: () => Promise.reject(new Error("forbidden")),
        set: () => {
          throw new Error("full");
        },
      },
    });
    edge.socket.message(1, 0);
    deepEqual(ids(taken), ["m1"]);
    ok(errors.length > 0 && errors.every(({ code }) => code === "STORAGE"));
  });

  // Nobody was told, and the device never connected.
  test("to answer holds up no connection, and no message", async () => {
    const never = () => new Promise<never>(() => {});
    const { edge, clock, device, errors, taken } = stage({ storage: { get: never, set: never } });
    device.connect();
    await clock.advanceAndSettle(10_000);
    edge.socket.accept();
    edge.socket.message(1, 0);
    await clock.advanceAndSettle(50);
    deepEqual(ids(taken), ["m1"]);
    deepEqual(edge.socket.ofKind(clientKinds.ack), [[2, 0, 1, 1]]);
    ok(errors.every(({ code }) => code === "STORAGE"));
    device.close();
    await clock.advanceAndSettle(5_000);
    equal(clock.pendingTimers, 0);
  });

  // Another name and another's position there: what waits for the first would be lost.
  test("to read has nothing written over what it holds", async () => {
    const written: string[] = [];
    let isBlocked = true;
    const memory = memoryStorage();
    await memory.set("belfry.device", "mine");
    const storage: DeviceStorage = {
      get: (key) => (isBlocked ? Promise.reject(new Error("blocked")) : memory.get(key)),
      set: (key) => void written.push(key),
    };
    const first = await connected({ storage });
    ok(first.edge.socket.hello.device !== "mine");
    first.edge.socket.message(1, 0);
    await first.clock.advanceAndSettle(50);
    deepEqual(
      written.filter((key) => /device|connect|position|seen/.test(key)),
      [],
    );
    isBlocked = false;
    const second = await connected({ storage });
    equal(second.edge.socket.hello.device, "mine");
  });

  test("with nonsense in it counts as empty", async () => {
    const nonsense = { get: () => '{"v":1,"account":7,"seq":"x"', set: () => {} };
    const { edge, device } = await connected({ storage: nonsense });
    equal(edge.socket.hello.position, undefined);
    equal(device.state.name, "attached");
  });
});
