/** A device that its edge tells to connect elsewhere, on virtual time. */
import { deepEqual, equal, match, notEqual, ok } from "node:assert/strict";
import { describe, test } from "node:test";
import {
  createDevice,
  type DeviceOptions,
  type DeviceState,
} from "../../src/client/device-client.js";
import { memoryStorage } from "../../src/client/platform.js";
import { clientKinds, serverKinds } from "../../src/protocol/frames.js";
import { VirtualClock } from "../support/virtual-clock.js";
import { FakeEdge, tokenFor } from "./fake-edge.js";

async function connected(given: Partial<DeviceOptions> = {}) {
  const edge = new FakeEdge();
  const clock = (given.clock as VirtualClock | undefined) ?? new VirtualClock();
  const states: DeviceState[] = [];
  const taken: string[] = [];
  const device = createDevice({
    urls: ["ws://a/connect", "ws://b/connect"],
    getToken: async () => tokenFor("alice"),
    onMessage: ({ id }) => void taken.push(id),
    onState: (state) => states.push(state),
    storage: memoryStorage(),
    socket: edge.constructorForClients,
    random: { next: () => 0.5 },
    clock,
    ...given,
  });
  device.connect();
  await clock.settle();
  edge.socket.accept();
  return { edge, clock, device, states, taken };
}

const directive = (directive: unknown) => [serverKinds.directive, directive];
const elsewhere = [{ url: "ws://c/connect", idc: "dc1" }, { url: "javascript:1" }, "none"];

describe("a device told to move", () => {
  test("acks what was taken, leaves, and is back at once where it is sent", async () => {
    const { edge, clock, states, taken } = await connected();
    const before = edge.socket;
    before.message(1, 0);
    await clock.settle();
    before.reply(directive({ do: "reconnect", edges: elsewhere }));
    await clock.advanceAndSettle(1);
    deepEqual(before.ofKind(clientKinds.ack), [[clientKinds.ack, 0, 1, 1]]);
    equal(before.closedWith, 3008);
    equal(edge.sockets.length, 2);
    equal(edge.socket.url, "ws://c/connect");
    edge.socket.open();
    deepEqual(edge.socket.hello["position"], [1, 1]);
    edge.socket.welcome();
    edge.socket.attached(1, 1);
    edge.socket.message(2, 1);
    await clock.settle();
    deepEqual(taken, ["m1", "m2"]);
    deepEqual(
      states.map(({ name }) => name),
      ["connecting", "attached", "connecting", "attached"],
    );
    // The end of the former connection is nobody's any more.
    before.drop(4_000);
    equal(states.length, 4);
  });

  test("falls back on its own addresses, with backoff, when it is not taken there", async () => {
    const { edge, clock } = await connected();
    edge.socket.reply(directive({ do: "reconnect", edges: elsewhere }));
    await clock.advanceAndSettle(1);
    edge.socket.drop();
    await clock.settle();
    equal(edge.sockets.length, 2, "at once is too soon");
    // Perhaps there again, and in the end elsewhere.
    for (let waitedMs = 0; edge.socket.url === "ws://c/connect"; waitedMs += 100) {
      ok(waitedMs < 60_000, "it never comes to an address of its own");
      if (edge.socket.readyState === 0) edge.socket.drop();
      await clock.advanceAndSettle(100);
    }
    match(edge.socket.url, /^ws:\/\/[ab]\/connect$/);
  });

  test("goes to its other address where it is told none", async () => {
    const { edge, clock } = await connected();
    const before = edge.socket;
    before.reply(directive({ do: "reconnect" }));
    await clock.advanceAndSettle(1);
    equal(edge.sockets.length, 2);
    notEqual(edge.socket.url, before.url);
  });

  // It went there first, for ever: past the balancer that the app names, and to a host long gone.
  for (const isReloaded of [false, true]) {
    test(`begins with its own addresses again after a minute (reload: ${isReloaded})`, async () => {
      const storage = memoryStorage();
      const before = await connected({ storage });
      before.edge.socket.reply(directive({ do: "reconnect", edges: elsewhere }));
      await before.clock.advanceAndSettle(1);
      const accept = () => {
        before.edge.socket.open();
        before.edge.socket.welcome(3_600_000);
        before.edge.socket.attached(1, 0);
      };
      accept();
      const again = async () => {
        before.edge.socket.drop();
        if (!isReloaded) await before.clock.advanceAndSettle(1_000);
        else before.device.close();
        const { clock } = before;
        return isReloaded ? (await connected({ storage, clock })).edge : before.edge;
      };
      equal((await again()).socket.url, "ws://c/connect", "what it was told is young");
      if (!isReloaded) accept();
      await before.clock.advanceAndSettle(60_000);
      match((await again()).socket.url, /^ws:\/\/[ab]\/connect$/);
    });
  }

  test("does nothing for a directive that it does not know", async () => {
    const { edge, clock } = await connected();
    for (const unknown of [{ do: "dance" }, {}]) edge.socket.reply(directive(unknown));
    await clock.settle();
    deepEqual([edge.sockets.length, edge.socket.closedWith], [1, undefined]);
  });

  test("keeps one connection when it is told twice, and none after close()", async () => {
    const { edge, clock, device } = await connected();
    const before = edge.socket;
    for (let at = 0; at < 2; at++) before.reply(directive({ do: "reconnect", edges: elsewhere }));
    await clock.advanceAndSettle(1);
    equal(edge.sockets.length, 2);
    edge.socket.accept();
    edge.socket.reply(directive({ do: "reconnect", edges: elsewhere }));
    device.close();
    await clock.advanceAndSettle(60_000);
    equal(edge.sockets.length, 2);
  });
});
