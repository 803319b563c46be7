/** Tabs of one browser that are one device (REQUIREMENTS D20). */
import { deepEqual, equal, ok, rejects } from "node:assert/strict";
import { describe, test } from "node:test";
import type { Device, DeviceMessage, DeviceStorage } from "../../src/client/device-client.js";
import { memoryStorage } from "../../src/client/platform.js";
import { createSharedDevice, type SharedDeviceOptions } from "../../src/client/shared-device.js";
import { clientKinds, serverKinds } from "../../src/protocol/frames.js";
import { VirtualClock } from "../support/virtual-clock.js";
import { ids } from "./device-stage.js";
import { FakeEdge, tokenFor } from "./fake-edge.js";
import { FakeSurroundings } from "./fake-surroundings.js";
import { FakeBrowser, type FakeTab } from "./fake-tabs.js";

interface Tab {
  readonly device: Device;
  readonly taken: DeviceMessage[];
  readonly states: string[];
  readonly errors: string[];
  readonly around: FakeSurroundings;
  readonly page: FakeTab;
}

class Stage {
  readonly clock = new VirtualClock();
  readonly edge = new FakeEdge();
  readonly storage: DeviceStorage = memoryStorage();
  readonly browser = new FakeBrowser();
  private draws = 0;

  /** Opens a tab and connects it. */
  async open(given: Partial<SharedDeviceOptions> = {}, app: "front" | "background" = "front") {
    const around = new FakeSurroundings("unknown", app);
    const page = this.browser.tab();
    const taken: DeviceMessage[] = [];
    const states: string[] = [];
    const errors: string[] = [];
    const device = createSharedDevice({
      url: "ws://edge/connect",
      share: "alice",
      getToken: async () => tokenFor("alice"),
      onMessage: (message) => void taken.push(message),
      onState: ({ name }) => states.push(name),
      onError: ({ code, message }) => errors.push(`${code}: ${message}`),
      storage: this.storage,
      socket: this.edge.constructorForClients,
      // Tabs draw different names, and the backoff is drawn from the same.
      random: { next: () => (this.draws = (this.draws + 0.137) % 1) },
      clock: this.clock,
      tabs: page,
      appState: around.appState,
      ...given,
    });
    device.connect();
    await this.clock.settle();
    const tab: Tab = { device, taken, states, errors, around, page };
    return tab;
  }

  async accept(generation = 1, seq = 0): Promise<void> {
    this.edge.socket.accept(generation, seq);
    await this.clock.settle();
  }

  async send(...seqs: number[]): Promise<void> {
    for (const seq of seqs) this.edge.socket.message(seq, seq - 1);
    await this.clock.advanceAndSettle(50);
  }
}

describe("tabs of one browser", () => {
  test("have one connection, and all get what it brings", async () => {
    const stage = new Stage();
    const first = await stage.open();
    await stage.accept();
    const second = await stage.open();
    equal(stage.edge.sockets.length, 1);
    deepEqual(second.states, ["connecting", "attached"]);
    await stage.send(1, 2);
    deepEqual(ids(first.taken), ["m1", "m2"]);
    deepEqual(ids(second.taken), ["m1", "m2"]);
    deepEqual(second.device.position, { generation: 1, seq: 2 });
    deepEqual(stage.edge.socket.ofKind(clientKinds.ack).at(-1), [2, 0, 1, 2]);
    stage.edge.socket.reply([serverKinds.passing, 0, "p1", null, 1]);
    stage.edge.socket.reply([serverKinds.recalled, 0, ["m9"]]);
    stage.edge.socket.reply([serverKinds.directive, { do: "config", config: 7 }]);
    const heard: unknown[] = [];
    second.device.on("passing", ({ id }) => heard.push(id));
    second.device.on("recall", (id) => heard.push(id));
    second.device.on("config", (config) => heard.push(config));
    await stage.clock.settle();
    deepEqual(heard, ["p1", "m9", 7]);
  });

  test("go on with another one when the connected one is closed, with nothing lost or twice", async () => {
    const stage = new Stage();
    const first = await stage.open();
    await stage.accept();
    const second = await stage.open();
    await stage.send(1, 2);
    first.device.close();
    await stage.clock.settle();
    equal(stage.edge.sockets.length, 2);
    equal(stage.edge.sockets[0]?.closedWith, 1000);
    stage.edge.socket.open();
    deepEqual(stage.edge.socket.hello.position, [1, 2]);
    equal(stage.edge.socket.hello.device, stage.edge.sockets[0]?.hello.device);
    stage.edge.socket.welcome();
    stage.edge.socket.attached(1, 0);
    await stage.send(1, 2, 3);
    deepEqual(ids(second.taken), ["m1", "m2", "m3"]);
    deepEqual(ids(first.taken), ["m1", "m2"]);
    equal(first.device.state.name, "idle");
    equal(second.device.state.name, "attached");
  });

  test("bind further users from the connected tab, and from the next one where it left off", async () => {
    const stage = new Stage();
    const tabs = [await stage.open(), await stage.open()];
    const bodies: unknown[][] = tabs.map(() => []);
    const states: string[][] = tabs.map(() => []);
    const handles = tabs.map(({ device }, at) =>
      device.bind({
        getToken: async () => tokenFor("bob"),
        onMessage: ({ body }) => void bodies[at]?.push(body),
        onState: ({ name }) => states[at]?.push(name),
      }),
    );
    const attach = async (seq: number) => {
      const { socket } = stage.edge;
      socket.open();
      socket.welcome(60_000, [clientKinds.bind, clientKinds.unbind]);
      socket.attached(1, 0);
      await stage.clock.settle();
      const info = { app: "demo", uid: "bob", device: "d", tokenExpiresAt: 2_000_000_000 };
      socket.reply([serverKinds.attached, 1, 7, seq, info]);
      socket.reply([serverKinds.message, 1, 7, seq + 1, seq, `b${seq}`, null, seq + 1]);
      await stage.clock.settle();
    };
    await attach(0);
    equal(stage.edge.socket.ofKind(clientKinds.bind).length, 1);
    deepEqual(bodies, [[1], []]);
    deepEqual(states, [["attached"], []]);
    tabs[0]?.device.close();
    await stage.clock.settle();
    await attach(1);
    const [, , who] = stage.edge.socket.ofKind(clientKinds.bind)[0] ?? [];
    deepEqual((who as { position: unknown }).position, [7, 1]);
    deepEqual(bodies, [[1], [2]]);
    deepEqual(states, [["attached", "connecting"], ["attached"]]);
    handles[1]?.unbind();
    deepEqual(stage.edge.socket.received.at(-1), [clientKinds.unbind, 1]);
    equal(handles[1]?.state.name, "idle");
  });

  test("show a message once that was relayed, and not acknowledged by the tab that relayed it", async () => {
    const stage = new Stage();
    const never = () => new Promise<void>(() => {});
    const first = await stage.open({ onMessage: never });
    await stage.accept();
    const second = await stage.open();
    await stage.send(1);
    deepEqual(ids(second.taken), ["m1"]);
    deepEqual(stage.edge.socket.ofKind(clientKinds.ack), []);
    first.device.close();
    await stage.clock.settle();
    await stage.accept();
    await stage.send(1, 2);
    deepEqual(ids(second.taken), ["m1", "m2"]);
    deepEqual(stage.edge.socket.ofKind(clientKinds.ack).at(-1), [2, 0, 1, 2]);
  });

  test("hand over in order what was relayed, before what comes to them directly", async () => {
    const stage = new Stage();
    const order: string[] = [];
    let inHands = 0;
    const first = await stage.open();
    await stage.accept();
    await stage.open({
      onMessage: async ({ id }) => {
        equal(++inHands, 1, "one at a time");
        await new Promise<void>((resolve) => void stage.clock.after(100, resolve));
        order.push(id);
        inHands -= 1;
      },
    });
    await stage.send(1, 2, 3);
    first.device.close();
    await stage.clock.settle();
    await stage.accept(1, 3);
    await stage.send(4, 5);
    await stage.clock.advanceAndSettle(1_000);
    deepEqual(order, ["m1", "m2", "m3", "m4", "m5"]);
  });

  // Found by tab-lives.test.ts: what was in its hands was not known as shown yet.
  test("give a message no second time to one that fell asleep over it", async () => {
    const stage = new Stage();
    const started: string[] = [];
    const first = await stage.open({
      onMessage: ({ id }) => {
        started.push(id);
        return new Promise<void>((resolve) => void stage.clock.after(500, resolve));
      },
    });
    await stage.accept();
    const second = await stage.open();
    await stage.send(1);
    first.page.freeze();
    await stage.clock.settle();
    await stage.accept();
    await stage.send(1, 2);
    await stage.clock.advanceAndSettle(2_000);
    deepEqual(started, ["m1", "m2"]);
    deepEqual(ids(second.taken), ["m1", "m2"]);
  });

  test("of which the connected one is frozen go on with another, and it comes back as one of them", async () => {
    const stage = new Stage();
    const first = await stage.open();
    await stage.accept();
    const second = await stage.open();
    first.page.freeze();
    await stage.clock.settle();
    equal(stage.edge.sockets.length, 2);
    await stage.accept();
    equal(second.device.state.name, "attached");
    equal(first.states.includes("idle"), false, "it is not closed, it sleeps");
    first.page.resume();
    await stage.clock.settle();
    await stage.clock.advanceAndSettle(10_000);
    await stage.send(1);
    equal(stage.edge.sockets.length, 2);
    deepEqual(ids(first.taken), ["m1"]);
    equal(first.device.state.name, "attached");
    second.device.close();
    await stage.clock.settle();
    equal(stage.edge.sockets.length, 3);
  });

  test("of which the connected one hangs: one that is looked at takes the lock", async () => {
    const stage = new Stage();
    const first = await stage.open();
    await stage.accept();
    const second = await stage.open();
    await stage.open({}, "background");
    await stage.clock.advanceAndSettle(10_000);
    stage.edge.socket.reply([serverKinds.ping, 1]);
    first.page.hang();
    for (let beat = 0; beat < 3; beat++) {
      await stage.clock.advanceAndSettle(8_000);
      stage.edge.sockets[0]?.reply([serverKinds.ping, beat]);
    }
    equal(stage.edge.sockets.length, 1);
    await stage.clock.advanceAndSettle(10_000);
    equal(stage.edge.sockets.length, 2);
    await stage.accept();
    equal(second.device.state.name, "attached");
    equal(stage.edge.sockets[0]?.closedWith, 1000, "the one that was robbed knows");
  });

  // Apps take `stopped` for a sign-in elsewhere.
  test("of which one was robbed while it hung are not told that they were replaced", async () => {
    const stage = new Stage();
    const page = stage.browser.tab();
    const later = (cause: unknown) =>
      new Promise((_, reject) => void stage.clock.after(200, () => reject(cause)));
    const request: FakeTab["locks"]["request"] = (...how) =>
      page.locks.request(...how).catch(later);
    const { channel, lifecycle } = page;
    const first = await stage.open({ tabs: { locks: { request }, channel, lifecycle } });
    await stage.accept();
    const second = await stage.open();
    page.hang();
    for (let beat = 0; beat < 3; beat++) {
      await stage.clock.advanceAndSettle(9_950);
      stage.edge.socket.reply([serverKinds.ping, beat]);
    }
    await stage.clock.advanceAndSettle(160);
    equal(stage.edge.sockets.length, 2);
    stage.edge.sockets[0]?.drop(4505, "a newer connection");
    await stage.accept();
    await stage.clock.advanceAndSettle(5_000);
    deepEqual(first.states.includes("stopped"), false, first.states.join(" "));
    equal(second.device.state.name, "attached");
    stage.edge.socket.drop(4505, "a newer connection");
    await stage.clock.advanceAndSettle(1_000);
    equal(second.states.at(-1), "stopped", "by another device of that name");
  });

  test("that nobody looks at steal nothing, and a leader that answers is left alone", async () => {
    const stage = new Stage();
    await stage.open({}, "background");
    await stage.accept();
    await stage.open({}, "front");
    const hidden = await stage.open({}, "background");
    for (let beat = 0; beat < 30; beat++) {
      await stage.clock.advanceAndSettle(10_000);
      stage.edge.socket.reply([serverKinds.ping, beat]);
    }
    equal(stage.edge.sockets.length, 1);
    hidden.device.close();
  });

  // It was judged by when the leader was last heard of, and took its lock each time.
  test("of which one comes to the front after a while leave a leader that answers alone", async () => {
    const stage = new Stage();
    await stage.open();
    await stage.accept();
    const second = await stage.open({}, "background");
    const pass = async (): Promise<void> => {
      for (let beat = 0; beat < 10; beat++) {
        await stage.clock.advanceAndSettle(9_000);
        stage.edge.socket.reply([serverKinds.ping, beat]);
      }
    };
    for (let look = 0; look < 3; look++) {
      await pass();
      second.around.become({ app: "front" });
      await stage.clock.settle();
      second.around.become({ app: "background" });
    }
    second.around.become({ app: "front" });
    await stage.clock.settle();
    // The machine sleeps, and the timer that asks is the first thing that wakes.
    stage.clock.oversleep(3_600_000);
    await stage.clock.settle();
    equal(stage.edge.sockets.length, 1);
    deepEqual(second.errors, []);
  });

  test("that get no locks are devices by themselves, without asking again and again", async () => {
    for (const name of ["SecurityError", "InvalidStateError"]) {
      const stage = new Stage();
      let asked = 0;
      const page = stage.browser.tab();
      const locks = {
        request: async () => {
          asked += 1;
          // Or the test would never end.
          if (asked > 1_000) await new Promise(() => {});
          throw new DOMException("denied", name);
        },
      };
      const tabs = { locks, channel: page.channel, lifecycle: page.lifecycle };
      const { device } = await stage.open({ tabs });
      equal(asked, 1);
      equal(stage.edge.sockets.length, name === "SecurityError" ? 1 : 0);
      await stage.clock.advanceAndSettle(100_000);
      ok(asked <= 25, `${name}: ${asked} times`);
      device.close();
      await stage.clock.settle();
      equal(stage.clock.pendingTimers, 0);
    }
  });

  test("of which one cannot lead do not try in a circle", async () => {
    const stage = new Stage();
    let tries = 0;
    const notifier = {
      show: () => false,
      withdraw: () => {},
      onTap: () => {
        tries += 1;
        throw new Error("a native module");
      },
    };
    const { errors } = await stage.open({ notifier });
    await stage.clock.settle();
    equal(tries, 1);
    ok(errors[0]?.startsWith("TABS"));
  });

  test("that are closed are given nothing that still waits", async () => {
    const stage = new Stage();
    await stage.open();
    await stage.accept();
    const started: string[] = [];
    const second = await stage.open({
      onMessage: ({ id }) => {
        started.push(id);
        return new Promise<void>((resolve) => void stage.clock.after(500, resolve));
      },
    });
    await stage.send(1, 2, 3);
    second.device.close();
    await stage.clock.advanceAndSettle(5_000);
    deepEqual(started, ["m1"]);
  });

  test("of another user share nothing", async () => {
    const stage = new Stage();
    const alice = await stage.open();
    await stage.accept();
    const bob = await stage.open({ share: "bob", getToken: async () => tokenFor("bob") });
    equal(stage.edge.sockets.length, 2);
    stage.edge.sockets[0]?.message(1, 0);
    await stage.clock.settle();
    equal(alice.taken.length, 1);
    equal(bob.taken.length, 0);
  });

  test("leave no timer, lock or channel behind when they close", async () => {
    const stage = new Stage();
    const tabs = [await stage.open(), await stage.open(), await stage.open({}, "background")];
    await stage.accept();
    await stage.clock.advanceAndSettle(10_000);
    for (const { device } of tabs) device.close();
    await stage.clock.settle();
    equal(stage.clock.pendingTimers, 0);
    equal(tabs[0]?.around.listeners.size, 0);
    const again = await stage.open();
    ok(again.states.includes("connecting"));
    equal(stage.edge.socket.url, "ws://edge/connect");
    again.device.close();
  });

  test("connect again when any of them is told to", async () => {
    const stage = new Stage();
    await stage.open();
    await stage.accept();
    const second = await stage.open();
    stage.edge.socket.drop(4505, "a newer connection");
    await stage.clock.advanceAndSettle(1_000);
    equal(second.device.state.name, "stopped");
    second.device.connect();
    await stage.clock.settle();
    equal(stage.edge.sockets.length, 2);
  });

  test("drop what another channel brought to any of them", async () => {
    const stage = new Stage();
    const first = await stage.open();
    await stage.accept();
    const second = await stage.open();
    equal(second.device.isNew("m1"), true);
    await stage.clock.settle();
    equal(second.device.isNew("m1"), false);
    equal(first.device.isNew("m1"), false);
    await stage.send(1, 2);
    deepEqual(ids(second.taken), ["m2"]);
    deepEqual(ids(first.taken), ["m2"]);
  });

  test("a handler that fails here holds up neither the others nor the order", async () => {
    const stage = new Stage();
    await stage.open();
    await stage.accept();
    const second = await stage.open({
      onMessage: ({ id }) => {
        if (id === "m1") throw new Error("a view");
        second.taken.push({ id, head: {}, body: null });
      },
    });
    await stage.send(1, 2);
    deepEqual(ids(second.taken), ["m2"]);
    equal(second.errors.length, 1);
    deepEqual(stage.edge.socket.ofKind(clientKinds.ack).at(-1), [2, 0, 1, 2]);
  });
});

describe("what is shown while tabs are", () => {
  const notification = (stage: Stage, seq: number) =>
    stage.edge.socket.reply([
      ...[serverKinds.message, 0, 1, seq, seq - 1, `m${seq}`],
      ...[{ kind: "notification", notification: { title: "T" } }, null],
    ]);

  async function withNotifier() {
    const stage = new Stage();
    const shown: string[] = [];
    const tapped: string[] = [];
    const taps = new Set<(id: string) => void>();
    const notifier = {
      show: ({ id }: { id: string }) => shown.push(id) > 0,
      withdraw: () => {},
      onTap: (listener: (id: string) => void) => {
        taps.add(listener);
        return () => void taps.delete(listener);
      },
    };
    const given = (tab: string) => ({
      notifier,
      onTap: ({ id }: DeviceMessage) => void tapped.push(`${tab} ${id}`),
    });
    const leader = await stage.open(given("leader"), "background");
    await stage.accept();
    const other = await stage.open(given("other"));
    const third = await stage.open(given("third"), "background");
    const tap = async (id: string) => {
      for (const listener of taps) listener(id);
      await stage.clock.settle();
    };
    return { stage, shown, tapped, tap, leader, other, third };
  }

  for (const front of ["leader", "other", undefined] as const) {
    test(`a tap is told to one tab, the one in front after it: ${front}`, async () => {
      const { stage, tapped, tap, ...tabs } = await withNotifier();
      tabs.other.around.become({ app: "background" });
      await stage.clock.settle();
      notification(stage, 1);
      await stage.clock.settle();
      await tap("m1");
      if (front !== undefined) tabs[front].around.become({ app: "front" });
      else await stage.clock.advanceAndSettle(1_000);
      await stage.clock.settle();
      deepEqual(tapped, [`${front ?? "leader"} m1`]);
      for (const tab of [tabs.leader, tabs.other, tabs.third]) deepEqual(ids(tab.taken), ["m1"]);
      for (const tab of [tabs.leader, tabs.other, tabs.third]) tab.device.close();
      await stage.clock.settle();
      equal(stage.clock.pendingTimers, 0);
    });
  }

  test("one of them in front is the app in front, whichever is connected", async () => {
    const { stage, shown, leader, other } = await withNotifier();
    notification(stage, 1);
    await stage.clock.settle();
    deepEqual([shown, ids(leader.taken), ids(other.taken)], [[], ["m1"], ["m1"]]);
    other.around.become({ app: "background" });
    await stage.clock.settle();
    notification(stage, 2);
    await stage.clock.settle();
    deepEqual([shown, ids(other.taken)], [["m2"], ["m1"]]);
    other.around.become({ app: "front" });
    await stage.clock.settle();
    deepEqual(ids(other.taken), ["m1", "m2"]);
    deepEqual(ids(leader.taken), ["m1", "m2"]);
  });

  test("a tab that crashed in front is not believed for ever", async () => {
    const { stage, shown, other } = await withNotifier();
    other.page.hang();
    for (let beat = 0; beat < 4; beat++) {
      await stage.clock.advanceAndSettle(9_000);
      stage.edge.socket.reply([serverKinds.ping, beat]);
    }
    notification(stage, 1);
    await stage.clock.settle();
    deepEqual(shown, ["m1"]);
  });
});

test("what a person opened in any tab is told by the one that is connected, once", async () => {
  const stage = new Stage();
  const first = await stage.open();
  await stage.accept();
  stage.edge.socket.welcome(10_000, [clientKinds.opened]);
  const second = await stage.open();
  second.device.opened("m1");
  await stage.clock.settle();
  first.device.opened("m1");
  first.device.opened("m2");
  deepEqual(
    stage.edge.socket.ofKind(clientKinds.opened).map(([, , id]) => id),
    ["m1", "m2"],
  );
  for (const { device } of [first, second]) device.close();
});

describe("calls of a tab that is not connected", () => {
  const accept = async (stage: Stage): Promise<void> => {
    stage.edge.socket.open();
    stage.edge.socket.welcome(10_000, [clientKinds.call]);
    stage.edge.socket.attached(1, 0);
    await stage.clock.settle();
  };

  test("go by the one that is, and so do their answers", async () => {
    const stage = new Stage();
    await stage.open();
    await accept(stage);
    const second = await stage.open();
    const good = second.device.call("orders", { bytes: Uint8Array.of(7) });
    const bad = second.device.call("orders", 2);
    await stage.clock.settle();
    const [first] = stage.edge.socket.ofKind(clientKinds.call);
    deepEqual([first?.[3], first?.[4]], ["orders", 10_000]);
    stage.edge.socket.reply([serverKinds.answer, 0, 1, null, "done"]);
    stage.edge.socket.reply([serverKinds.answer, 0, 2, "DENIED", "no"]);
    equal(await good, "done");
    await rejects(bad, /no/);
  });

  test("that were sent when it left are of unknown outcome, and those that wait go by the next", async () => {
    const stage = new Stage();
    const first = await stage.open();
    await accept(stage);
    const second = await stage.open();
    const sent = rejects(second.device.call("pay", 1), { outcome: "unknown" });
    await stage.clock.settle();
    first.device.close();
    await stage.clock.settle();
    await sent;
    const waits = second.device.call("pay", 2);
    await accept(stage);
    stage.edge.socket.reply([serverKinds.answer, 0, 1, null, "paid"]);
    equal(await waits, "paid");
  });
});

test("where tabs cannot share, each is a device by itself", async () => {
  const stage = new Stage();
  const { tabs: _, ...options } = {
    share: "alice",
    url: "ws://edge/connect",
    getToken: async () => tokenFor("alice"),
    onMessage: () => {},
    storage: stage.storage,
    socket: stage.edge.constructorForClients,
    clock: stage.clock,
    tabs: undefined,
  };
  const device = createSharedDevice(options);
  device.connect();
  await stage.clock.settle();
  equal(stage.edge.sockets.length, 1);
  device.close();
});

// They were one device by name, and each that came replaced the one before for good.
test("where tabs cannot share, what one stores is no other tab's", async () => {
  const edge = new FakeEdge();
  const clock = new VirtualClock();
  const web = () => {
    const storage = memoryStorage();
    return { getItem: (key: string) => storage.get(key), setItem: storage.set };
  };
  const names = ["localStorage", "sessionStorage"] as const;
  const before = names.map((name) => Object.getOwnPropertyDescriptor(globalThis, name));
  const set = (name: string, value: unknown) =>
    Object.defineProperty(globalThis, name, { value, configurable: true });
  const denied = {
    locks: { request: () => Promise.reject(new DOMException("denied", "SecurityError")) },
    channel: new FakeBrowser().tab().channel,
    lifecycle: { onSuspend: () => () => {}, onResume: () => () => {} },
  };
  try {
    set("localStorage", web());
    for (const tabs of [undefined, undefined, denied]) {
      set("sessionStorage", web());
      const device = createSharedDevice({
        ...{ share: "alice", url: "ws://edge", onMessage: () => {}, clock },
        ...{ getToken: async () => tokenFor("alice"), socket: edge.constructorForClients },
        ...(tabs === undefined ? {} : { tabs }),
      });
      device.connect();
      await clock.settle();
      edge.socket.open();
      device.close();
    }
    const devices = edge.sockets.map(({ hello }) => hello.device);
    equal(new Set(devices).size, 3);
  } finally {
    for (const [at, name] of names.entries()) {
      const own = before[at];
      if (own === undefined) Reflect.deleteProperty(globalThis, name);
      else Object.defineProperty(globalThis, name, own);
    }
  }
});
