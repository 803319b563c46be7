/** Every cell of the kind × app-state table that a device decides (REQUIREMENTS D11). */
import { deepEqual, equal, ok } from "node:assert/strict";
import { describe, test } from "node:test";
import type {
  DeviceMessage,
  DeviceOptions,
  DeviceStorage,
} from "../../src/client/device-client.js";
import { heldMax } from "../../src/client/held-messages.js";
import {
  type Notifier,
  type ShownNotification,
  serviceWorkerNotifier,
} from "../../src/client/notifier.js";
import { memoryStorage } from "../../src/client/platform.js";
import { presentationOf } from "../../src/client/presenter.js";
import { serveNotifications, type WorkerScope } from "../../src/client/service-worker.js";
import { noteTap, type TapStore, takeTaps } from "../../src/client/tap-notes.js";
import type { WorkerContainer } from "../../src/client/worker-display.js";
import { clientKinds, serverKinds } from "../../src/protocol/frames.js";
import { until } from "../support/until.js";
import type { VirtualClock } from "../support/virtual-clock.js";
import { connected, ids, type Stage, stage } from "./device-stage.js";
import { FakeSurroundings } from "./fake-surroundings.js";

class FakeNotifier implements Notifier {
  readonly shown: ShownNotification[] = [];
  readonly withdrawn: string[] = [];
  tap: (id: string) => void = () => {};
  /** What `show` answers, or does. */
  answer: () => boolean | Promise<boolean> = () => true;

  show(notification: ShownNotification): boolean | Promise<boolean> {
    this.shown.push(notification);
    return this.answer();
  }

  withdraw(id: string): void {
    this.withdrawn.push(id);
  }

  onTap(listener: (id: string) => void): () => void {
    this.tap = listener;
    return () => {
      this.tap = () => {};
    };
  }
}

/** A browser's Cache Storage, as far as it is used. */
class FakeCaches implements TapStore {
  readonly urls = new Set<string>();

  async open() {
    const { urls } = this;
    const absolute = (request: string) => new URL(request, "https://app.example").href;
    return {
      put: async (request: string) => void urls.add(absolute(request)),
      keys: async () => [...urls].map((url) => ({ url })),
      delete: async (request: string) => urls.delete(absolute(request)),
    };
  }
}

interface Presented extends Stage {
  readonly around: FakeSurroundings;
  readonly notifier: FakeNotifier;
  readonly tapped: DeviceMessage[];
  /** Sends a message of this kind. */
  readonly send: (seq: number, kind: "notification" | "transparent") => Promise<void>;
}

async function presented(
  app: "front" | "background",
  given: Partial<DeviceOptions> = {},
): Promise<Presented> {
  const around = new FakeSurroundings("unknown", app);
  const notifier = new FakeNotifier();
  const tapped: DeviceMessage[] = [];
  const onTap = (message: DeviceMessage) => void tapped.push(message);
  const made = await connected({ appState: around.appState, notifier, onTap, ...given });
  const send = async (seq: number, kind: "notification" | "transparent"): Promise<void> => {
    const notification = { title: `title ${seq}`, body: "words", url: "/there" };
    const head = kind === "notification" ? { kind, notification } : null;
    const body = { seq, bytes: Uint8Array.of(1, 2) };
    made.edge.socket.reply([serverKinds.message, 0, 1, seq, seq - 1, `m${seq}`, head, body]);
    await made.clock.advanceAndSettle(50);
  };
  return { ...made, around, notifier, tapped, send };
}

const acked = ({ edge }: Stage) => edge.socket.ofKind(clientKinds.ack).at(-1)?.[3];

test("the table", () => {
  equal(presentationOf("notification", "background"), "display");
  equal(presentationOf("notification", "front"), "data");
  equal(presentationOf("transparent", "background"), "data");
  equal(presentationOf(undefined, "background"), "data");
  equal(presentationOf("transparent", "front"), "data");
});

describe("in front", () => {
  for (const kind of ["notification", "transparent"] as const) {
    test(`${kind}: data to the app, nothing pops up`, async () => {
      const made = await presented("front");
      await made.send(1, kind);
      deepEqual(ids(made.taken), ["m1"]);
      deepEqual(made.notifier.shown, []);
      equal(acked(made), 1);
    });
  }
});

describe("in the background", () => {
  test("transparent: data to the app", async () => {
    const made = await presented("background");
    await made.send(1, "transparent");
    deepEqual(ids(made.taken), ["m1"]);
    deepEqual(made.notifier.shown, []);
  });

  test("notification: shown and acknowledged, data when the app comes to the front", async () => {
    const made = await presented("background");
    await made.send(1, "notification");
    const [shown] = made.notifier.shown;
    deepEqual(
      [shown?.id, shown?.title, shown?.body, shown?.url],
      ["m1", "title 1", "words", "/there"],
    );
    equal(made.taken.length, 0);
    equal(acked(made), 1);
    made.around.become({ app: "front" });
    await made.clock.settle();
    const [message] = made.taken;
    deepEqual(message?.position, { generation: 1, seq: 1 });
    deepEqual(message?.body, { seq: 1, bytes: Uint8Array.of(1, 2) });
    deepEqual(made.notifier.withdrawn, ["m1"]);
    deepEqual(made.tapped, []);
  });

  test("notification: data on a tap, and the app hears of the tap", async () => {
    const made = await presented("background");
    await made.send(1, "notification");
    await made.send(2, "notification");
    made.edge.socket.welcome(10_000, [clientKinds.opened]);
    made.notifier.tap("m2");
    await made.clock.settle();
    deepEqual(ids(made.taken), ["m1", "m2"]);
    deepEqual(ids(made.tapped), ["m2"]);
    deepEqual(made.edge.socket.ofKind(clientKinds.opened), [[clientKinds.opened, 0, "m2"]]);
    made.notifier.tap("m2");
    made.notifier.tap("nobody's");
    await made.clock.settle();
    deepEqual(ids(made.tapped), ["m2"]);
  });

  for (const isEarly of [true, false]) {
    test(`notification: a tap that opened the page anew is told, and as opened (${isEarly})`, async () => {
      const storage = memoryStorage();
      const before = await presented("background", { storage });
      await before.send(1, "notification");
      const notifier = new FakeNotifier();
      const tapped: string[] = [];
      const onTap = ({ id }: DeviceMessage) => void tapped.push(id);
      const after = stage({ storage, notifier, onTap });
      after.device.connect();
      // Before it is known whose token it is, or when the app has the data already.
      if (isEarly) notifier.tap("m1");
      await after.clock.settle();
      if (!isEarly) notifier.tap("m1");
      after.edge.socket.open();
      after.edge.socket.welcome(10_000, [clientKinds.opened]);
      after.edge.socket.attached(1, 1);
      await after.clock.settle();
      deepEqual([ids(after.taken), tapped], [["m1"], ["m1"]]);
      deepEqual(after.edge.socket.ofKind(clientKinds.opened), [[clientKinds.opened, 0, "m1"]]);
    });
  }

  test("what is transparent goes on behind what is shown", async () => {
    const made = await presented("background");
    await made.send(1, "notification");
    await made.send(2, "transparent");
    deepEqual(ids(made.taken), ["m2"]);
    equal(acked(made), 2);
    made.around.become({ app: "front" });
    await made.send(3, "transparent");
    deepEqual(ids(made.taken), ["m2", "m1", "m3"]);
  });

  test("notification: data outlasts a reload", async () => {
    const storage = memoryStorage();
    const first = await presented("background", { storage });
    await first.send(1, "notification");
    const second = stage({ storage });
    second.device.connect();
    await second.clock.settle();
    const [message] = second.taken;
    equal(message?.id, "m1");
    deepEqual(message?.body, { seq: 1, bytes: Uint8Array.of(1, 2) });
    const third = stage({ storage });
    third.device.connect();
    await third.clock.settle();
    deepEqual(third.taken, [], "once");
  });

  // It was stored as nobody's, acknowledged, and forgotten by the next page.
  test("notification: data outlasts a reload, of a token that does not say whose it is", async () => {
    const storage = memoryStorage();
    const given = { storage, getToken: async () => "opaque" };
    const first = await presented("background", given);
    await first.send(1, "notification");
    equal(acked(first), 1);
    const second = await connected(given);
    await second.clock.settle();
    deepEqual(ids(second.taken), ["m1"]);
    second.edge.socket.drop();
    await second.clock.advanceAndSettle(1_000);
    second.edge.socket.accept(1, 1);
    await second.clock.settle();
    deepEqual(ids(second.taken), ["m1"], "once");
  });

  // While it is shown nobody knows whether it will be: 5 seconds at most.
  describe("notification: while it is being shown", () => {
    async function showing() {
      const made = await presented("background");
      let end: (isShown: boolean) => void = () => {};
      made.notifier.answer = () => new Promise<boolean>((resolve) => (end = resolve));
      await made.send(1, "notification");
      const endShowing = async (isShown: boolean): Promise<void> => {
        end(isShown);
        await made.clock.settle();
      };
      return { ...made, end: endShowing };
    }

    for (const isShown of [true, false]) {
      test(`taken back, it leaves the display and the app (${isShown})`, async () => {
        const made = await showing();
        made.edge.socket.reply([serverKinds.recalled, 0, ["m1"]]);
        made.notifier.withdrawn.length = 0;
        await made.end(isShown);
        await made.clock.advanceAndSettle(50);
        deepEqual([ids(made.taken), made.notifier.withdrawn], [[], isShown ? ["m1"] : []]);
        equal(acked(made), 1);
      });

      test(`somebody looks: data to the app once, and nothing stays (${isShown})`, async () => {
        const made = await showing();
        made.around.become({ app: "front" });
        await made.clock.settle();
        made.notifier.withdrawn.length = 0;
        await made.end(isShown);
        await made.clock.advanceAndSettle(50);
        deepEqual([ids(made.taken), made.notifier.withdrawn], [["m1"], isShown ? ["m1"] : []]);
        equal(acked(made), 1);
      });
    }

    test("shown too late, it leaves the display: the app has it", async () => {
      const made = await showing();
      await made.clock.advanceAndSettle(5_100);
      deepEqual(ids(made.taken), ["m1"]);
      await made.end(true);
      deepEqual(made.notifier.withdrawn, ["m1"]);
    });
  });

  test("notification: stored by a page that ended before it was taken, it comes once", async () => {
    const storage = memoryStorage();
    const first = await presented("background", { storage });
    first.notifier.answer = () => new Promise<boolean>(() => {});
    await first.send(1, "notification");
    const second = await presented("background", { storage });
    await second.clock.settle();
    await second.send(1, "notification");
    equal(acked(second), 1);
    second.around.become({ app: "front" });
    await second.clock.settle();
    deepEqual(ids(second.taken), ["m1"]);
    const third = await presented("front", { storage });
    await third.clock.settle();
    deepEqual(ids(third.taken), []);
  });

  test("notification: another user's data is nobody's business", async () => {
    const storage = memoryStorage();
    const first = await presented("background", { storage });
    await first.send(1, "notification");
    const { tokenFor } = await import("./fake-edge.js");
    const second = stage({ storage, getToken: async () => tokenFor("bob") });
    second.device.connect();
    await second.clock.settle();
    equal(second.taken.length, 0);
  });

  test("notification: taken back, it is on no display, and no data comes", async () => {
    const made = await presented("background");
    await made.send(1, "notification");
    made.edge.socket.reply([serverKinds.recalled, 0, ["m1"]]);
    deepEqual(made.notifier.withdrawn, ["m1"]);
    made.around.become({ app: "front" });
    await made.clock.settle();
    equal(made.taken.length, 0);
  });
});

describe("where it cannot be shown", () => {
  const failures: [string, () => boolean | Promise<boolean>][] = [
    ["not allowed", () => false],
    ["broken", () => Promise.reject(new Error("no display"))],
    ["without an answer", () => new Promise<boolean>(() => {})],
  ];
  for (const [name, answer] of failures) {
    test(`${name}: the app gets the data at once`, async () => {
      const made = await presented("background");
      made.notifier.answer = answer;
      await made.send(1, "notification");
      await made.clock.advanceAndSettle(5_050);
      deepEqual(ids(made.taken), ["m1"]);
      equal(acked(made), 1);
      made.around.become({ app: "front" });
      await made.clock.settle();
      deepEqual(ids(made.taken), ["m1"]);
    });
  }

  test("or not kept: the app gets the data at once", async () => {
    const full: DeviceStorage = {
      get: () => null,
      set: (key) => (key.endsWith("held") ? Promise.reject(new Error("full")) : undefined),
    };
    const made = await presented("background", { storage: full });
    await made.send(1, "notification");
    deepEqual(ids(made.taken), ["m1"]);
    deepEqual(made.notifier.shown, []);
    equal(made.errors[0]?.code, "STORAGE");
  });

  test("or what is kept cannot be read: nothing is written over it", async () => {
    const written: string[] = [];
    const made = await presented("background", {
      storage: {
        get: (key) => (key.endsWith("held") ? Promise.reject(new Error("blocked")) : null),
        set: (key) => void written.push(key),
      },
    });
    await made.send(1, "notification");
    deepEqual(ids(made.taken), ["m1"]);
    equal(written.includes("belfry.held"), false);
  });

  test("by a display that throws when it is told to take away: the device goes on", async () => {
    const made = await presented("background");
    made.notifier.withdraw = () => {
      throw new Error("a native module");
    };
    await made.send(1, "notification");
    made.edge.socket.reply([serverKinds.recalled, 0, ["m1"]]);
    await made.send(2, "notification");
    made.around.become({ app: "front" });
    await made.clock.settle();
    deepEqual(ids(made.taken), ["m2"]);
    equal(made.errors[0]?.code, "NOTIFIER");
  });

  test("or turned off: the app gets the data at once", async () => {
    const made = await presented("background", { notifier: false });
    await made.send(1, "notification");
    deepEqual(ids(made.taken), ["m1"]);
  });
});

describe("held messages", () => {
  test("are bounded: the oldest goes to the app, and none is lost", async () => {
    const made = await presented("background");
    const count = heldMax + 6;
    for (let seq = 1; seq <= count; seq++) await made.send(seq, "notification");
    deepEqual(ids(made.taken), ["m1", "m2", "m3", "m4", "m5", "m6"]);
    made.around.become({ app: "front" });
    await made.clock.settle();
    deepEqual(
      ids(made.taken),
      Array.from({ length: count }, (_, at) => `m${at + 1}`),
    );
  });

  // Each that the app refused made room for none, and one more was held.
  test("are bounded also while the app refuses the oldest", async () => {
    const storage = memoryStorage();
    const refused: string[] = [];
    const made = await presented("background", {
      storage,
      onMessage: ({ id }) => {
        refused.push(id);
        throw new Error("not now");
      },
    });
    for (let seq = 1; seq <= heldMax + 1; seq++) await made.send(seq, "notification");
    deepEqual(refused, ["m1", `m${heldMax + 1}`]);
    equal(acked(made), heldMax);
    equal(made.edge.socket.closedWith, 3003);
    const record = JSON.parse(String(await storage.get("belfry.held"))) as { messages: string[] };
    equal(record.messages.length, heldMax);
  });

  test("that the app refuses stay for the next time, and not for ever", async () => {
    let isFailing = true;
    const tries: string[] = [];
    const made = await presented("background", {
      onMessage: ({ id }) => {
        tries.push(id);
        if (isFailing && id === "m1") throw new Error("not now");
      },
    });
    await made.send(1, "notification");
    await made.send(2, "notification");
    const look = async (): Promise<void> => {
      made.around.become({ app: "front" });
      await made.clock.settle();
      made.around.become({ app: "background" });
    };
    await look();
    deepEqual(tries, ["m1"]);
    isFailing = false;
    await look();
    deepEqual(tries, ["m1", "m1", "m2"]);
    isFailing = true;
    tries.length = 0;
    made.edge.socket.message(3, 2, "m1b");
    await made.clock.settle();
    deepEqual(tries, ["m1b"]);
  });

  test("never meet another message in the app's hands", async () => {
    let inHands = 0;
    let most = 0;
    const clocks: VirtualClock[] = [];
    const made = await presented("background", {
      onMessage: async () => {
        most = Math.max(most, ++inHands);
        await new Promise<void>((resolve) => void clocks[0]?.after(10, resolve));
        inHands -= 1;
      },
    });
    clocks.push(made.clock);
    await made.send(1, "notification");
    await made.send(2, "notification");
    made.edge.socket.message(3, 2);
    made.around.become({ app: "front" });
    made.edge.socket.message(4, 3);
    made.notifier.tap("m1");
    await made.clock.advanceAndSettle(200);
    equal(most, 1);
    equal(acked(made), 4);
  });
});

describe("a service worker", () => {
  function browser(): {
    workers: WorkerContainer;
    shown: unknown[][];
    closed: string[];
    say: (data: unknown) => void;
  } {
    const shown: unknown[][] = [];
    const closed: string[] = [];
    const listeners = new Set<(event: { data: unknown }) => void>();
    const registration = {
      active: {},
      showNotification: async (...call: unknown[]) => void shown.push(call),
      getNotifications: async ({ tag }: { tag: string }) => [{ close: () => closed.push(tag) }],
    };
    const workers: WorkerContainer = {
      getRegistration: async () => registration,
      addEventListener: (_type, listener) => void listeners.add(listener),
      removeEventListener: (_type, listener) => void listeners.delete(listener),
    };
    const say = (data: unknown): void => {
      for (const listener of listeners) listener({ data });
    };
    return { workers, shown, closed, say };
  }

  test("shows what the page asks for, where the person allowed it", async () => {
    const { workers, shown, closed } = browser();
    let permission = "default";
    const notifier = serviceWorkerNotifier(workers, () => permission);
    const notification = { id: "m1", title: "T", body: "B", url: "/u", fields: { icon: "i.png" } };
    equal(await notifier.show(notification), false);
    permission = "granted";
    equal(await notifier.show(notification), true);
    const data = { belfry: { id: "m1", url: "/u" } };
    deepEqual(shown, [["T", { body: "B", tag: "m1", icon: "i.png", data }]]);
    notifier.withdraw("m1");
    await new Promise((resolve) => setImmediate(resolve));
    deepEqual(closed, ["m1"]);
  });

  test("is never asked what it displays while it begins to display, and closes all the same", async () => {
    const { workers, closed } = browser();
    const calls: string[] = [];
    const errors: string[] = [];
    const ends: (() => void)[] = [];
    const registration = {
      active: {},
      showNotification: (title: string) => {
        calls.push(`show ${title}`);
        return new Promise<void>((resolve) => ends.push(resolve));
      },
      getNotifications: async ({ tag }: { tag: string }) => {
        calls.push(`ask ${tag}`);
        await new Promise<void>((resolve) => ends.push(resolve));
        if (tag === "x") throw new Error("not told");
        return [{ close: () => closed.push(tag) }];
      },
    };
    const display = serviceWorkerNotifier(
      { ...workers, getRegistration: async () => registration },
      () => "granted",
      (error) => errors.push(String(error)),
    );
    const show = (id: string) => display.show({ id, title: id, body: "", fields: {} });
    const untilCalls = (...expected: string[]) =>
      until(expected.at(-1) ?? "", () => calls.length >= expected.length).then(() =>
        deepEqual(calls, expected),
      );
    const first = show("a");
    await untilCalls("show a");
    display.withdraw("x");
    display.withdraw("b");
    await new Promise((resolve) => setImmediate(resolve));
    deepEqual(calls, ["show a"]);
    ends.shift()?.();
    equal(await first, true);
    await untilCalls("show a", "ask x", "ask b");
    const second = show("b");
    ends.shift()?.();
    await until("one is not told", () => errors.length === 1);
    deepEqual(calls.slice(3), [], "the other one is still asked for");
    ends.shift()?.();
    await untilCalls("show a", "ask x", "ask b", "show b");
    deepEqual([closed, errors], [["b"], ["Error: not told"]]);
    display.withdraw("b");
    const again = show("b");
    await untilCalls("show a", "ask x", "ask b", "show b", "show b");
    for (const end of ends.splice(0)) end();
    deepEqual(await Promise.all([second, again]), [true, true]);
    await new Promise((resolve) => setImmediate(resolve));
    deepEqual(calls.slice(5), [], "what is shown again is not withdrawn");
  });

  test("hands taps to the page, and only its own", () => {
    const { workers, say } = browser();
    const taps: string[] = [];
    const cancel = serviceWorkerNotifier(workers, () => "granted").onTap((id) => taps.push(id));
    for (const data of [null, 7, { belfry: 1 }, { belfry: { tapped: 7 } }]) say(data);
    say({ belfry: { tapped: "m1" } });
    cancel();
    say({ belfry: { tapped: "m2" } });
    deepEqual(taps, ["m1"]);
  });

  test("hands the page what was tapped before it was there, once", async () => {
    const { workers, say } = browser();
    const caches = new FakeCaches();
    for (let tap = 1; tap <= 17; tap++) await noteTap(caches, `m/${tap}`);
    const taps: string[] = [];
    const begin = () =>
      serviceWorkerNotifier(workers, () => "granted", undefined, caches).onTap((id) =>
        taps.push(id),
      );
    const cancel = begin();
    await until("both are read", () => taps.length === 16);
    deepEqual([taps[0], taps[15]], ["m/2", "m/17"]);
    await noteTap(caches, "live");
    say({ belfry: { tapped: "live" } });
    await until("it is forgotten", () => caches.urls.size === 0);
    cancel();
    begin();
    await new Promise((resolve) => setImmediate(resolve));
    equal(taps.length, 17);
  });

  test("tells every window of a tap, and brings one to the front or opens one", async () => {
    const told: unknown[] = [];
    const focused: string[] = [];
    const opened: string[] = [];
    let windows = ["hidden", "visible"];
    let tap: Parameters<WorkerScope["addEventListener"]>[1] = () => {};
    const caches = new FakeCaches();
    serveNotifications({
      caches,
      clients: {
        matchAll: async () =>
          windows.map((visibilityState) => ({
            visibilityState,
            postMessage: (message: unknown) => void told.push(message),
            focus: async () => void focused.push(visibilityState),
          })),
        openWindow: async (url) => void opened.push(url),
      },
      addEventListener: (_type, listener) => {
        tap = listener;
      },
    });
    let work: Promise<unknown> = Promise.resolve();
    let closes = 0;
    const event = (data: unknown) => ({
      notification: { data, close: () => void closes++ },
      waitUntil: (promise: Promise<unknown>) => {
        work = promise;
      },
    });
    tap(event({ belfry: { id: "m1", url: "/u" } }));
    await work;
    deepEqual(told, [{ belfry: { tapped: "m1" } }, { belfry: { tapped: "m1" } }]);
    deepEqual(focused, ["visible"]);
    windows = [];
    tap(event({ belfry: { id: "m1", url: "/u" } }));
    await work;
    deepEqual(opened, ["/u"]);
    deepEqual(await takeTaps(caches), ["m1"]);
    tap(event(null));
    tap(event({ other: 1 }));
    equal(closes, 2);
    ok(told.length === 2);
  });
});
