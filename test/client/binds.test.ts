/** Further users on a device's connection: each with what is its own, and none at another's cost. */
import { deepEqual, equal, ok, rejects } from "node:assert/strict";
import { describe, test } from "node:test";
import type { BindOptions, DeviceMessage, DeviceState } from "../../src/client/device-client.js";
import { memoryStorage } from "../../src/client/platform.js";
import { closeCodes } from "../../src/protocol/close-codes.js";
import { clientKinds, serverKinds } from "../../src/protocol/frames.js";
import { phases, type Stage, slowApp, stage } from "./device-stage.js";
import { tokenFor } from "./fake-edge.js";
import { FakeSurroundings } from "./fake-surroundings.js";

const takes = [clientKinds.bind, clientKinds.unbind];

interface Bound {
  readonly taken: DeviceMessage[];
  readonly states: DeviceState[];
  readonly errors: string[];
  readonly options: BindOptions;
}

function optionsFor(uid: string, given: Partial<BindOptions> = {}): Bound {
  const taken: DeviceMessage[] = [];
  const states: DeviceState[] = [];
  const errors: string[] = [];
  const options: BindOptions = {
    getToken: async () => tokenFor(uid),
    onMessage: (message) => void taken.push(message),
    onState: (state) => states.push(state),
    onError: (error) => errors.push(`${error.code} ${error.message}`),
    ...given,
  };
  return { taken, states, errors, options };
}

async function greeted(given: Parameters<typeof stage>[0] = {}): Promise<Stage> {
  const made = stage(given);
  made.device.connect();
  await made.clock.settle();
  made.edge.socket.open();
  made.edge.socket.welcome(60_000, takes);
  return made;
}

async function again(made: Stage): Promise<void> {
  await made.clock.settle();
  made.edge.socket.open();
  made.edge.socket.welcome(60_000, takes);
  await made.clock.settle();
}

/** What the edge says of a further session. */
function attached({ edge }: Stage, index: number, uid: string, seq = 0, generation = 7): void {
  const info = { app: "demo", uid, device: "d", tokenExpiresAt: 2_000_000_000 };
  edge.socket.reply([serverKinds.attached, index, generation, seq, info]);
}

function message({ edge }: Stage, index: number, seq: number, prev: number): void {
  const id = `b${index}.${seq}`;
  edge.socket.reply([serverKinds.message, index, 7, seq, prev, id, null, `body ${seq}`]);
}

const binds = ({ edge }: Stage) => edge.socket.ofKind(clientKinds.bind);
const bodies = ({ taken }: Bound) => taken.map(({ body }) => body);

describe("a bound user", () => {
  test("is asked for once the edge has said that it takes it, and has all of its own", async () => {
    const made = await greeted();
    const [bob, carol] = [optionsFor("bob"), optionsFor("carol", { start: "all" })];
    const one = made.device.bind(bob.options);
    made.device.bind(carol.options);
    await made.clock.settle();
    const asked = binds(made);
    deepEqual(
      asked.map(([, index, who]) => [index, (who as { token: string }).token]),
      [
        [1, tokenFor("bob")],
        [2, tokenFor("carol")],
      ],
    );
    const { device, connect } = made.edge.socket.hello as { device: string; connect: number };
    const [who] = asked.map(([, , each]) => each as Record<string, unknown>);
    equal(who?.["device"], device);
    ok((who?.["connect"] as number) > connect);
    attached(made, 1, "bob");
    attached(made, 2, "carol", 40);
    made.edge.socket.attached(1, 0);
    message(made, 2, 41, 40);
    message(made, 1, 1, 0);
    made.edge.socket.message(1, 0);
    message(made, 1, 2, 1);
    await made.clock.settle();
    deepEqual([bodies(bob), bodies(carol)], [["body 1", "body 2"], ["body 41"]]);
    deepEqual(
      made.taken.map(({ id }) => id),
      ["m1"],
    );
    await made.clock.advanceAndSettle(60);
    const acks = made.edge.socket
      .ofKind(clientKinds.ack)
      .sort((a, b) => Number(a[1]) - Number(b[1]));
    deepEqual(acks, [
      [2, 0, 1, 1],
      [2, 1, 7, 2],
      [2, 2, 7, 41],
    ]);
    deepEqual(one.position, { generation: 7, seq: 2 });
    deepEqual(made.device.position, { generation: 1, seq: 1 });
    deepEqual(phases(bob.states), ["attached"]);
    made.device.close();
  });

  test("calls, and says what was opened, by its own index; a move waits for its answers too", async () => {
    const made = await greeted();
    made.edge.socket.welcome(60_000, [...takes, clientKinds.call, clientKinds.opened]);
    const bob = made.device.bind(optionsFor("bob").options);
    await made.clock.settle();
    attached(made, 1, "bob");
    made.edge.socket.attached(1, 0);
    const calls = [made.device.call("orders", "own"), bob.call("orders", "bob's")];
    bob.opened("m1");
    const before = made.edge.socket;
    deepEqual(before.ofKind(clientKinds.call), [
      [clientKinds.call, 0, 1, "orders", 10_000, "own"],
      [clientKinds.call, 1, 1, "orders", 10_000, "bob's"],
    ]);
    deepEqual(before.ofKind(clientKinds.opened), [[clientKinds.opened, 1, "m1"]]);
    before.reply([serverKinds.directive, { do: "reconnect" }]);
    await made.clock.advanceAndSettle(1_000);
    before.reply([serverKinds.answer, 0, 1, null, "to the own"]);
    await made.clock.advanceAndSettle(1_000);
    equal(before.closedWith, undefined);
    before.reply([serverKinds.answer, 1, 1, null, "to bob"]);
    deepEqual(await Promise.all(calls), ["to the own", "to bob"]);
    await made.clock.settle();
    equal(before.closedWith, 3008);
    made.device.close();
  });

  test("that ends while a move waits for its answer holds the move up for 5 s at most", async () => {
    const made = await greeted();
    made.edge.socket.welcome(60_000, [...takes, clientKinds.call]);
    const bob = made.device.bind(optionsFor("bob").options);
    await made.clock.settle();
    attached(made, 1, "bob");
    made.edge.socket.attached(1, 0);
    const lost = rejects(bob.call("orders", 1), { code: "CONNECTION_LOST" });
    const before = made.edge.socket;
    before.reply([serverKinds.directive, { do: "reconnect" }]);
    await made.clock.settle();
    before.reply([serverKinds.ended, 1, 4506, "ERASED"]);
    await lost;
    await made.clock.advanceAndSettle(5_000);
    equal(before.closedWith, 3008);
    made.device.close();
  });

  test("waits for an edge that takes it, and says why", async () => {
    const made = await greeted();
    const bob = optionsFor("bob");
    made.edge.socket.drop();
    const handle = made.device.bind(bob.options);
    await made.clock.advanceAndSettle(1_000);
    made.edge.socket.open();
    made.edge.socket.welcome(60_000);
    made.edge.socket.attached(1, 0);
    await made.clock.settle();
    deepEqual(binds(made), []);
    deepEqual(bob.errors, ["REFUSED this edge takes one session a connection"]);
    deepEqual(handle.state, { name: "connecting" });
    made.edge.socket.drop();
    await made.clock.advanceAndSettle(1_000);
    await again(made);
    equal(binds(made).length, 1);
    made.device.close();
  });

  test("comes back with each connection, from what it has taken, also after a restart", async () => {
    const storage = memoryStorage();
    const made = await greeted({ storage });
    const bob = optionsFor("bob");
    made.device.bind(bob.options);
    await made.clock.settle();
    attached(made, 1, "bob");
    made.edge.socket.attached(1, 0);
    message(made, 1, 1, 0);
    await made.clock.settle();
    made.edge.socket.drop();
    await made.clock.advanceAndSettle(1_000);
    await again(made);
    const position = (where: Stage, at = 0) =>
      (binds(where)[at]?.[2] as { position?: number[] } | undefined)?.position;
    deepEqual(position(made), [7, 1]);
    attached(made, 1, "bob", 1);
    message(made, 1, 2, 1);
    await made.clock.settle();
    deepEqual(bodies(bob), ["body 1", "body 2"]);
    deepEqual(phases(bob.states), ["attached", "connecting", "attached"]);
    deepEqual(
      bob.states.map((state) => "isResumed" in state && state.isResumed),
      [false, false, true],
    );
    made.edge.socket.attached(1, 0);
    made.edge.socket.message(1, 0);
    await made.clock.settle();
    made.device.close();
    const next = await greeted({ storage, clock: made.clock });
    deepEqual(next.edge.socket.hello["position"], [1, 1]);
    next.device.bind(optionsFor("bob").options);
    const other = optionsFor("carol");
    next.device.bind(other.options);
    await next.clock.settle();
    deepEqual(position(next), [7, 2]);
    equal(binds(next).length, 2);
    equal(position(next, 1), undefined);
    next.device.close();
  });

  test("leaves with its ack, and its index is nobody's until the edge has said so", async () => {
    const made = await greeted();
    const [bob, carol] = [optionsFor("bob"), optionsFor("carol")];
    const handle = made.device.bind(bob.options);
    await made.clock.settle();
    attached(made, 1, "bob");
    made.edge.socket.attached(1, 0);
    message(made, 1, 1, 0);
    await made.clock.settle();
    handle.unbind();
    deepEqual(made.edge.socket.received.slice(-2), [
      [clientKinds.ack, 1, 7, 1],
      [clientKinds.unbind, 1],
    ]);
    made.device.bind(carol.options);
    await made.clock.settle();
    equal(binds(made)[1]?.[1], 2);
    attached(made, 2, "carol");
    message(made, 1, 2, 1);
    attached(made, 1, "bob", 2);
    made.edge.socket.reply([serverKinds.ended, 1, 1_000, "UNBOUND"]);
    await made.clock.advanceAndSettle(60_000);
    deepEqual([bodies(bob), bodies(carol), bob.errors], [["body 1"], [], []]);
    deepEqual(handle.state, { name: "idle" });
    made.device.bind(optionsFor("dora").options);
    await made.clock.settle();
    equal(binds(made).at(-1)?.[1], 1);
    made.device.close();
  });

  test("that was replaced stays away, and one whose token ran out comes back by itself", async () => {
    const made = await greeted();
    const [bob, carol] = [optionsFor("bob"), optionsFor("carol")];
    made.device.bind(bob.options);
    made.device.bind(carol.options);
    await made.clock.settle();
    attached(made, 1, "bob");
    attached(made, 2, "carol");
    made.edge.socket.attached(1, 0);
    made.edge.socket.reply([serverKinds.ended, 1, 4505, "REPLACED"]);
    made.edge.socket.reply([serverKinds.ended, 2, 4003, "TOKEN_EXPIRED"]);
    deepEqual(bob.states.at(-1), { name: "stopped", code: 4505, reason: "REPLACED" });
    equal(carol.states.at(-1)?.name, "waiting");
    await made.clock.advanceAndSettle(1_000);
    equal(binds(made).length, 3);
    equal(binds(made)[2]?.[1], 1);
    attached(made, 1, "carol");
    equal(carol.states.at(-1)?.name, "attached");
    deepEqual(made.device.state.name, "attached");
    // Nor with the next connection.
    made.edge.socket.drop();
    await made.clock.advanceAndSettle(1_000);
    await again(made);
    equal(binds(made).length, 1);
    made.device.close();
  });

  test("whose handler fails is bound anew alone, and gets it again", async () => {
    const made = await greeted();
    let failures = 1;
    const taken: unknown[] = [];
    const bob = optionsFor("bob", {
      onMessage: ({ body }) => {
        if (failures-- > 0) throw new Error("not now");
        taken.push(body);
      },
    });
    made.device.bind(bob.options);
    await made.clock.settle();
    attached(made, 1, "bob");
    made.edge.socket.attached(1, 0);
    message(made, 1, 1, 0);
    message(made, 1, 2, 1);
    await made.clock.settle();
    deepEqual(made.edge.socket.received.at(-1), [clientKinds.unbind, 1]);
    equal(made.edge.sockets.length, 1);
    made.edge.socket.reply([serverKinds.ended, 1, 1_000, "UNBOUND"]);
    await made.clock.advanceAndSettle(1_000);
    attached(made, 1, "bob");
    message(made, 1, 1, 0);
    message(made, 1, 2, 1);
    await made.clock.settle();
    deepEqual(taken, ["body 1", "body 2"]);
    equal(made.device.state.name, "attached");
    made.device.close();
  });

  test("that is refused, or not answered, tries again later and later", async () => {
    const made = await greeted();
    const bob = optionsFor("bob");
    made.device.bind(bob.options);
    await made.clock.settle();
    made.edge.socket.attached(1, 0);
    made.edge.socket.reply([serverKinds.refused, 1, "TOO_MANY", "full"]);
    equal(bob.states.at(-1)?.name, "waiting");
    deepEqual(bob.errors, ["REFUSED TOO_MANY: full"]);
    await made.clock.advanceAndSettle(300);
    equal(binds(made).length, 2);
    await made.clock.advanceAndSettle(15_000);
    deepEqual(made.edge.socket.received.at(-1), [clientKinds.unbind, 1]);
    await made.clock.advanceAndSettle(600);
    // The unbind is not answered: its index stays its own.
    deepEqual(
      binds(made).map(([, index]) => index),
      [1, 1, 2],
    );
    equal(made.device.state.name, "attached");
    made.device.close();
  });

  for (const [name, code] of [
    ["UNAUTHORIZED", 4504],
    ["BAD_FRAME", 4500],
  ] as const) {
    test(`that is refused as ${name} stays away, and says so`, async () => {
      const made = await greeted();
      const bob = optionsFor("bob");
      made.device.bind(bob.options);
      await made.clock.settle();
      made.edge.socket.attached(1, 0);
      made.edge.socket.reply([serverKinds.refused, 1, name, "no"]);
      deepEqual(bob.states.at(-1), { name: "stopped", code, reason: name });
      made.edge.socket.drop();
      await made.clock.advanceAndSettle(1_000);
      await again(made);
      await made.clock.advanceAndSettle(14_000);
      equal(binds(made).length, 0);
      // The index is free again.
      made.device.bind(optionsFor("carol").options);
      await made.clock.settle();
      deepEqual(binds(made)[0]?.[1], 1);
      made.device.close();
    });
  }

  const floors = [
    ["refused", "OVERLOADED", 5_000],
    ["refused", "QUOTA_EXCEEDED", 5_000],
    ["refused", "AUTH_UNAVAILABLE", 2_000],
    ["ended", "OVERLOADED", 5_000],
    ["ended", "QUOTA_EXCEEDED", 5_000],
  ] as const;
  for (const [kind, name, floorMs] of floors) {
    test(`that is ${kind} as ${name} is not back before ${floorMs} ms`, async () => {
      const made = await greeted();
      made.device.bind(optionsFor("bob").options);
      await made.clock.settle();
      made.edge.socket.attached(1, 0);
      if (kind === "ended") attached(made, 1, "bob");
      const { code } = closeCodes[name];
      const { ended, refused } = serverKinds;
      made.edge.socket.reply(
        kind === "ended" ? [ended, 1, code, name] : [refused, 1, name, "not now"],
      );
      await made.clock.advanceAndSettle(floorMs - 1);
      equal(binds(made).length, 1);
      await made.clock.advanceAndSettle(floorMs + 1);
      equal(binds(made).length, 2);
      made.device.close();
    });
  }

  test("that was asked to wait waits also where the connection is a new one", async () => {
    const made = await greeted();
    made.device.bind(optionsFor("bob").options);
    await made.clock.settle();
    made.edge.socket.attached(1, 0);
    made.edge.socket.reply([serverKinds.refused, 1, "QUOTA_EXCEEDED", "full"]);
    made.edge.socket.drop();
    await made.clock.advanceAndSettle(1_000);
    await again(made);
    made.edge.socket.attached(1, 0);
    await made.clock.advanceAndSettle(3_900);
    equal(binds(made).length, 0);
    await made.clock.advanceAndSettle(6_000);
    equal(binds(made).length, 1);
    made.device.close();
  });

  test("asks for what is missing, and refreshes its token, by its index", async () => {
    const made = await greeted();
    const bob = optionsFor("bob");
    made.device.bind(bob.options);
    await made.clock.settle();
    attached(made, 1, "bob");
    made.edge.socket.attached(1, 0);
    message(made, 1, 3, 2);
    deepEqual(made.edge.socket.received.at(-1), [clientKinds.resend, 1, 7, 0]);
    made.edge.socket.reply([serverKinds.tokenWanted, 1, 60_000]);
    await made.clock.settle();
    deepEqual(made.edge.socket.received.at(-1), [clientKinds.token, 1, tokenFor("bob")]);
    // Of one that is attached a token was refused, and nothing else.
    made.edge.socket.reply([serverKinds.refused, 1, "TOKEN_EXPIRED", "too late"]);
    message(made, 1, 1, 0);
    await made.clock.settle();
    deepEqual(bodies(bob), ["body 1"]);
    made.device.close();
  });
});

describe("the device's own session", () => {
  async function withBob() {
    const made = await greeted();
    const bob = optionsFor("bob");
    made.device.bind(bob.options);
    await made.clock.settle();
    made.edge.socket.attached(1, 0);
    attached(made, 1, "bob");
    return { made, bob };
  }

  test("stops alone where it was replaced; the bound one goes on with the connection", async () => {
    const { made, bob } = await withBob();
    made.edge.socket.reply([serverKinds.ended, 0, 4505, "REPLACED"]);
    deepEqual(made.device.state, { name: "stopped", code: 4505, reason: "REPLACED" });
    message(made, 1, 1, 0);
    await made.clock.advanceAndSettle(20_000);
    deepEqual(bodies(bob), ["body 1"]);
    equal(made.edge.socket.closedWith, undefined);
    made.edge.socket.drop();
    await made.clock.advanceAndSettle(60_000);
    deepEqual(made.device.state, { name: "stopped", code: 4505, reason: "REPLACED" });
    equal(made.edge.sockets.length, 1);
    const stranded = { name: "stopped", code: 4505, reason: "the device is stopped: REPLACED" };
    deepEqual(bob.states.at(-1), stranded);
    const carol = optionsFor("carol");
    deepEqual(made.device.bind(carol.options).state, stranded);
    made.device.connect();
    equal(bob.states.at(-1)?.name, "connecting");
    await again(made);
    equal(binds(made).length, 2);
    made.device.close();
  });

  // It came back, and so replaced what had replaced it.
  test("that was replaced is not woken by an edge that sends its clients away", async () => {
    const { made, bob } = await withBob();
    made.edge.socket.reply([serverKinds.ended, 0, 4505, "REPLACED"]);
    message(made, 1, 1, 0);
    await made.clock.settle();
    const edges = [{ url: "ws://c/connect" }];
    made.edge.socket.reply([serverKinds.directive, { do: "reconnect", edges, spreadMs: 1_000 }]);
    await made.clock.advanceAndSettle(120_000);
    equal(made.edge.sockets.length, 1);
    equal(made.edge.socket.closedWith, 3008);
    deepEqual(made.edge.socket.received.at(-1), [clientKinds.ack, 1, 7, 1]);
    deepEqual(made.device.state, { name: "stopped", code: 4505, reason: "REPLACED" });
    equal(bob.states.at(-1)?.name, "stopped");
    made.device.connect();
    await again(made);
    equal(made.edge.socket.url, "ws://edge/connect");
    equal(binds(made).length, 1);
    made.device.close();
  });

  test("that is stopped costs the bound ones nothing where its handler fails", async () => {
    let fail: (error: Error) => void = () => {};
    const failing = new Promise<void>((_, reject) => {
      fail = reject;
    });
    const made = await greeted({ onMessage: () => failing });
    made.device.bind(optionsFor("bob").options);
    await made.clock.settle();
    made.edge.socket.attached(1, 0);
    attached(made, 1, "bob");
    made.edge.socket.message(1, 0);
    await made.clock.settle();
    made.edge.socket.reply([serverKinds.ended, 0, 4505, "REPLACED"]);
    fail(new Error("not now"));
    await made.clock.settle();
    equal(made.edge.socket.closedWith, undefined);
    made.device.close();
  });

  test("takes its bound ones along where it is told to stay away", async () => {
    const { made, bob } = await withBob();
    made.edge.socket.reply([serverKinds.directive, { do: "kick", reason: "maintenance" }]);
    const reason = "the device is stopped: maintenance";
    deepEqual(bob.states.at(-1), { name: "stopped", code: 3009, reason });
    made.device.close();
  });

  for (const [name, code] of [
    ["OVERLOADED", 4005],
    ["QUOTA_EXCEEDED", 4007],
  ] as const) {
    test(`that ended with ${name} is not back before 5 s`, async () => {
      const { made } = await withBob();
      made.edge.socket.reply([serverKinds.ended, 0, code, name]);
      await made.clock.advanceAndSettle(4_999);
      equal(made.edge.sockets.length, 1);
      await made.clock.advanceAndSettle(5_001);
      equal(made.edge.sockets.length, 2);
      made.device.close();
    });
  }

  test("leaves no connection behind where it is connected anew", async () => {
    const { made } = await withBob();
    made.edge.socket.reply([serverKinds.ended, 0, 4505, "REPLACED"]);
    made.device.connect();
    await made.clock.settle();
    equal(made.edge.sockets.length, 2);
    equal(made.edge.sockets[0]?.closedWith, 1_000);
    made.device.close();
  });

  // The bound one's app was still given what had come, and taps, after the device was closed.
  test("is closed with all that is bound to it, and connects again with all of it", async () => {
    const made = await greeted();
    const { finish, started, onMessage } = slowApp();
    const bob = optionsFor("bob", { onMessage });
    const handle = made.device.bind(bob.options);
    const carol = made.device.bind(optionsFor("carol").options);
    await made.clock.settle();
    made.edge.socket.attached(1, 0);
    attached(made, 1, "bob");
    message(made, 1, 1, 0);
    message(made, 1, 2, 1);
    await made.clock.settle();
    const call = rejects(carol.call("orders", 1), { code: "CLOSED" });
    made.device.close();
    await call;
    finish.shift()?.();
    await made.clock.advanceAndSettle(60_000);
    deepEqual([started, handle.state.name], [["b1.1"], "connecting"]);
    made.device.connect();
    await again(made);
    equal(binds(made).length, 2);
    attached(made, 1, "bob", 1);
    message(made, 1, 2, 1);
    await made.clock.settle();
    deepEqual(started, ["b1.1", "b1.2"]);
    made.device.close();
  });

  test("hears of taps for who is bound while it is not closed, and again once it connects", async () => {
    let tap: (id: string) => void = () => {};
    const onTap = (listener: typeof tap) => {
      tap = listener;
      return () => {
        tap = () => {};
      };
    };
    const notifier = { show: async () => true, withdraw: () => {}, onTap };
    const { appState } = new FakeSurroundings("wifi", "background");
    const made = await greeted({ notifier, appState });
    const bob = optionsFor("bob");
    made.device.bind(bob.options);
    await made.clock.settle();
    attached(made, 1, "bob");
    made.edge.socket.reply([serverKinds.message, 1, 7, 1, 0, "b", { kind: "notification" }, "it"]);
    await made.clock.settle();
    made.device.close();
    tap("b");
    await made.clock.settle();
    deepEqual(bodies(bob), []);
    made.device.connect();
    tap("b");
    await made.clock.settle();
    deepEqual(bodies(bob), ["it"]);
    made.device.close();
  });

  test("comes back with a new connection where it may, and all with it", async () => {
    const { made, bob } = await withBob();
    made.edge.socket.reply([serverKinds.ended, 0, 4003, "TOKEN_EXPIRED"]);
    equal(made.device.state.name, "waiting");
    equal(bob.states.at(-1)?.name, "connecting");
    await made.clock.advanceAndSettle(1_000);
    await again(made);
    equal(made.edge.sockets.length, 2);
    equal(binds(made).length, 1);
    made.device.close();
  });

  test("is not held for attached while only a bound one is", async () => {
    const made = await greeted();
    made.device.bind(optionsFor("bob").options);
    await made.clock.settle();
    attached(made, 1, "bob");
    await made.clock.advanceAndSettle(15_000);
    equal(made.edge.sockets[0]?.closedWith, 3_004);
    made.device.close();
  });
});
