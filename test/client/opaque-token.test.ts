/** Tokens that say nothing of themselves: an app with a connect webhook, on virtual time. */
import { deepEqual, equal } from "node:assert/strict";
import { describe, test } from "node:test";
import type { DeviceStorage } from "../../src/client/device-client.js";
import type { Notifier, ShownNotification } from "../../src/client/notifier.js";
import { memoryStorage } from "../../src/client/platform.js";
import { closeCodes } from "../../src/protocol/close-codes.js";
import { clientKinds, serverKinds } from "../../src/protocol/frames.js";
import { connected, ids, stage } from "./device-stage.js";
import { FakeSurroundings } from "./fake-surroundings.js";

const { code } = closeCodes.AUTH_UNAVAILABLE;
const hint = "AUTH_UNAVAILABLE: not now retryAfterMs=4000";

describe("a token that is the app's own", () => {
  test("is sent with the app's name before it, fresh ones too", async () => {
    let serial = 0;
    const getToken = async () => `secret:${serial++}`;
    const { edge, clock } = await connected({ app: "demo", getToken });
    equal(edge.socket.hello["token"], "demo:secret:0");
    edge.socket.reply([serverKinds.tokenWanted, 0, 60_000]);
    await clock.settle();
    deepEqual(edge.socket.ofKind(clientKinds.token), [[5, 0, "demo:secret:1"]]);
  });

  for (const user of ["alice", "bob", undefined] as const) {
    test(`resumes from what is stored only where it is known to be hers: ${user}`, async () => {
      const storage = memoryStorage();
      const options = { storage, app: "demo", getToken: async () => "opaque" };
      const known = user === undefined ? {} : { user };
      const first = await connected({ ...options, ...known });
      first.edge.socket.message(3, 0);
      await first.clock.settle();
      const again = await connected({ ...options, ...known });
      const isHers = user === "alice";
      deepEqual(again.edge.socket.hello["position"], isHers ? [1, 3] : undefined);
      // Shown once all the same: by its id.
      again.edge.socket.message(3, 0);
      await again.clock.settle();
      deepEqual(ids(again.taken), []);
    });
  }

  // It was shown and acknowledged: its data must not go with the page.
  for (const user of ["alice", undefined] as const) {
    test(`has a notification's data after a reload, once it is known whose: ${user}`, async () => {
      const shown: ShownNotification[] = [];
      const notifier: Notifier = {
        show: (notification) => shown.push(notification) > 0,
        withdraw: () => undefined,
        onTap: () => () => undefined,
      };
      const options = {
        ...{ app: "demo", getToken: async () => "opaque", notifier, storage: memoryStorage() },
        ...(user === undefined ? {} : { user }),
      };
      const { appState } = new FakeSurroundings("unknown", "background");
      const before = await connected({ ...options, appState });
      const head = { kind: "notification", notification: { title: "t", body: "b", url: "/" } };
      before.edge.socket.reply([serverKinds.message, 0, 1, 1, 0, "m1", head, "body"]);
      await before.clock.advanceAndSettle(50);
      deepEqual([before.taken.length, shown.length], [0, 1]);
      const after = await connected(options);
      await after.clock.advanceAndSettle(50);
      deepEqual(ids(after.taken), ["m1"]);
    });
  }
});

describe("further users whose tokens do not say who they are", () => {
  const head = { kind: "notification", notification: { title: "t", body: "b", url: "/" } };
  const takes = [clientKinds.bind, clientKinds.unbind];

  async function withTwo(storage: DeviceStorage, app: "front" | "background") {
    const { appState } = new FakeSurroundings("unknown", app);
    const notifier: Notifier = {
      show: () => true,
      withdraw: () => undefined,
      onTap: () => () => undefined,
    };
    const made = stage({ storage, notifier, appState });
    const taken: Record<string, string[]> = { bob: [], carol: [] };
    const bind = (user: string) =>
      made.device.bind({
        ...{ app: "shop", getToken: async () => `opaque ${user}` },
        onMessage: ({ id }) => void taken[user]?.push(id),
      });
    const handles = [bind("bob"), bind("carol")];
    made.device.connect();
    await made.clock.settle();
    made.edge.socket.open();
    made.edge.socket.welcome(60_000, takes);
    await made.clock.settle();
    made.edge.socket.attached(1, 0);
    for (const [at, uid] of ["bob", "carol"].entries()) {
      const info = { app: "shop", uid, device: "d", tokenExpiresAt: 2_000_000_000 };
      made.edge.socket.reply([serverKinds.attached, at + 1, 7, 0, info]);
    }
    await made.clock.settle();
    const send = async (index: number, seq: number, id: string) => {
      made.edge.socket.reply([serverKinds.message, index, 7, seq, seq - 1, id, head, "body"]);
      await made.clock.advanceAndSettle(50);
    };
    return { made, taken, handles, send };
  }

  const { get, set } = memoryStorage();
  const storages = {
    "at once": memoryStorage(),
    later: { get: async (key: string) => get(key), set: async (k: string, v: string) => set(k, v) },
  };
  // Both were stored in one place: the second one's data was written over the first's.
  for (const [when, storage] of Object.entries(storages))
    test(`are held apart: what each was shown and what each has taken (answered ${when})`, async () => {
      const before = await withTwo(storage, "background");
      await before.send(1, 1, "b1");
      await before.send(2, 1, "c1");
      await before.send(1, 2, "b2");
      deepEqual(before.taken, { bob: [], carol: [] });
      before.made.device.close();
      const after = await withTwo(storage, "front");
      await after.made.clock.settle();
      deepEqual(after.taken, { bob: ["b1", "b2"], carol: ["c1"] });
      deepEqual(
        after.handles.map(({ state }) => state.name === "attached" && state.isResumed),
        // What is read only after the edge's word is not known to go on.
        when === "at once" ? [true, true] : [false, false],
      );
      deepEqual(
        after.handles.map(({ position }) => position),
        [
          { generation: 7, seq: 2 },
          { generation: 7, seq: 1 },
        ],
      );
      // Taken before the reload: not given again.
      await after.send(1, 1, "b1");
      await after.send(2, 1, "c1");
      deepEqual(after.taken, { bob: ["b1", "b2"], carol: ["c1"] });
      after.made.device.close();
    });
});

test("a further user is given nothing before it is known what was taken", async () => {
  const stored = memoryStorage();
  let open: () => void = () => {};
  const gate = new Promise<void>((resolve) => {
    open = resolve;
  });
  const late = async (key: string) => {
    if (key.includes("bob") && !key.endsWith("held")) await gate;
    return stored.get(key);
  };
  const given: string[][] = [];
  for (const storage of [stored, { get: late, set: stored.set }]) {
    const taken: string[] = [];
    given.push(taken);
    const made = stage({ storage });
    const onMessage = ({ id }: { id: string }) => void taken.push(id);
    made.device.bind({ app: "shop", getToken: async () => "opaque", onMessage });
    made.device.connect();
    await made.clock.settle();
    made.edge.socket.open();
    made.edge.socket.welcome(60_000, [clientKinds.bind, clientKinds.unbind]);
    await made.clock.settle();
    const info = { app: "shop", uid: "bob", device: "d", tokenExpiresAt: 2_000_000_000 };
    made.edge.socket.reply([serverKinds.attached, 1, 7, 0, info]);
    made.edge.socket.reply([serverKinds.message, 1, 7, 1, 0, "b1", null, "body"]);
    await made.clock.settle();
    open();
    await made.clock.settle();
    made.edge.socket.reply([serverKinds.message, 1, 7, 2, 1, `b2.${given.length}`, null, "body"]);
    await made.clock.settle();
    made.device.close();
  }
  // The second one is at a position that the first took.
  deepEqual(given, [["b1", "b2.1"], []]);
});

describe("a token that nobody can vouch for now", () => {
  test("on a live connection is tried again, not before it was said", async () => {
    let serial = 0;
    const { edge, clock, device } = await connected({ getToken: async () => `t${serial++}` });
    const sent = () => edge.socket.ofKind(clientKinds.token).length;
    edge.socket.reply([serverKinds.tokenWanted, 0, 60_000]);
    await clock.settle();
    edge.socket.reply([serverKinds.refused, 0, "AUTH_UNAVAILABLE", hint]);
    await clock.advanceAndSettle(3_999);
    equal(sent(), 1);
    await clock.advanceAndSettle(4_001);
    equal(sent(), 2);
    edge.socket.reply([serverKinds.refused, 0, "AUTH_UNAVAILABLE", "no hint"]);
    await clock.advanceAndSettle(4_000);
    equal(sent(), 3);
    edge.socket.reply([serverKinds.refused, 0, "UNAUTHORIZED", "no"]);
    edge.socket.reply([serverKinds.ping, 1]);
    await clock.advanceAndSettle(10_000);
    equal(sent(), 3, "that one is about the token");
    equal(device.state.name, "attached");
  });

  test("is tried no more once the connection has ended, and leaves no timer", async () => {
    const { edge, clock, device } = await connected();
    edge.socket.reply([serverKinds.tokenWanted, 0, 60_000]);
    await clock.settle();
    edge.socket.reply([serverKinds.refused, 0, "AUTH_UNAVAILABLE", hint]);
    device.close();
    await clock.settle();
    equal(clock.pendingTimers, 0);
  });

  test("of a further user is tried again, not before it was said, and names that user's app", async () => {
    const made = stage();
    made.device.bind({
      ...{ app: "shop", getToken: async () => "opaque", onMessage: () => undefined },
    });
    made.device.connect();
    await made.clock.settle();
    made.edge.socket.open();
    made.edge.socket.welcome(60_000, [clientKinds.bind, clientKinds.unbind]);
    await made.clock.settle();
    const asked = () => made.edge.socket.ofKind(clientKinds.bind);
    const [[, index, hello]] = asked() as [[number, number, { token: string }]];
    equal(hello.token, "shop:opaque");
    made.edge.socket.reply([serverKinds.refused, index, "AUTH_UNAVAILABLE", hint]);
    await made.clock.advanceAndSettle(3_999);
    equal(asked().length, 1);
    await made.clock.advanceAndSettle(4_001);
    equal(asked().length, 2);
  });

  test("at the door has the client back by itself, not before it was said", async () => {
    const made = stage();
    made.device.connect();
    await made.clock.settle();
    made.edge.socket.open();
    made.edge.socket.drop(code, hint);
    equal(made.device.state.name, "waiting");
    await made.clock.advanceAndSettle(3_999);
    const attempts = () => made.edge.sockets.length;
    equal(attempts(), 1);
    await made.clock.advanceAndSettle(5_000);
    equal(attempts(), 2);
  });
});
