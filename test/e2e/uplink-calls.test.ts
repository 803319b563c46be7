/**
 * Clients call services, on real parts: devices on nodes' edges, services in their app's own
 * NATS account. Services, edges and owners die in mid-call, and one app's flood is its own.
 */
import assert from "node:assert/strict";
import { after, afterEach, before, describe, test } from "node:test";
import { connect, type NatsConnection } from "@nats-io/transport-node";
import { defaultLimits } from "../../actors/limits.js";
import type { CallError, Device } from "../../src/client/device-client.js";
import {
  type CallHandler,
  CallRefused,
  createService,
  type HandleOptions,
} from "../../src/client/service-client.js";
import type { NatsFixture } from "../support/nats-server.js";
import { runOperatorCommand } from "../support/operator-command.js";
import { shardsOf, usersIn } from "../support/placement-state.js";
import { app, type Platform, startPlatform } from "../support/platform.js";
import { until } from "../support/until.js";

let platform: Platform<NatsFixture>;
const services: NatsConnection[] = [];
const devices: Device[] = [];

before(async () => {
  platform = await startPlatform({ events: { receipts: ["opened"] } });
});
after(() => platform[Symbol.asyncDispose]());
afterEach(async () => {
  for (const device of devices.splice(0)) device.close();
  for (const connection of services.splice(0)) await connection.close();
});

/** A service's process: a connection of its own as the app's user. */
async function serve(route: string, handler: CallHandler, options: HandleOptions = {}) {
  const { url, credentials } = platform.nats;
  const connection = await connect({ servers: url, ...credentials.app(app) });
  services.push(connection);
  const service = createService({ connection, app });
  const handled = service.handle(route, handler, options);
  await connection.flush();
  return { connection, service, handled };
}

type Given = Partial<Parameters<Platform["device"]>[1]>;

async function attached(uid: string, given: Given = {}): Promise<Device> {
  const device = platform.device(uid, { onMessage: () => undefined, ...given });
  devices.push(device);
  await until(`${uid} is attached`, () => device.state.name === "attached");
  return device;
}

const on = (...names: string[]) => ({ urls: names.map((name) => platform.node(name).edgeUrl) });

/** How a call ended: its code, and what that says of it. */
const endOf = (call: Promise<unknown>) =>
  call.then(
    (value) => ["answered", value],
    (error: CallError) => [error.code, error.outcome],
  );

interface CallFigures {
  readonly underWay: number;
  readonly bytes: number;
}

async function callsOn(node: string): Promise<CallFigures> {
  const { document } = await runOperatorCommand(platform, "edges");
  const edges: { node: string; calls: CallFigures }[] = document.edges;
  const edge = edges.find((each) => each.node.startsWith(`dc1-${node}.`));
  assert.ok(edge);
  return edge.calls;
}

describe("a call", () => {
  test("is answered by the app's service, in both forms, by user and device", async () => {
    await serve("echo.v1", ({ uid, device, route, body }) => ({ uid, device, route, body }));
    for (const protocol of ["belfry.v1", "belfry.v1.json"] as const) {
      const device = await attached("anna.k@ü", { protocol, device: `d-${protocol}` });
      const body = { n: 1.5, list: [null, "ü", true] };
      assert.deepEqual(await device.call("echo.v1", body), {
        ...{ uid: "anna.k@ü", device: `d-${protocol}`, route: "echo.v1", body },
      });
    }
    const device = await attached("bytes");
    const answer = (await device.call("echo.v1", Uint8Array.of(0, 255))) as { body: Uint8Array };
    assert.deepEqual([...answer.body], [0, 255]);
  });

  test("ends with the service's refusal, with nobody there, and by its deadline", async () => {
    await serve("orders", () => {
      throw new CallRefused("SOLD_OUT", "none is left");
    });
    const slow = await serve("slow", () => new Promise(() => {}));
    const device = await attached("alice");
    const ends = [
      endOf(device.call("orders", 1)),
      endOf(device.call("nobody", 1)),
      endOf(device.call("slow", 1, { deadlineMs: 2_000 })),
    ];
    assert.deepEqual(await Promise.all(ends), [
      ["SOLD_OUT", "refused"],
      ["NO_SERVICE", "not-done"],
      ["TIMEOUT", "unknown"],
    ]);
    await until("the service knows that nobody waits", () => slow.handled.late === 1);
  });

  test("goes by no route that the token does not name", async () => {
    const seen: string[] = [];
    const note: CallHandler = ({ route }) => void seen.push(route);
    for (const route of ["chat", "orders"]) await serve(route, note);
    const getToken = () => platform.token("routed", { routes: ["chat"] });
    const device = await attached("routed", { getToken });
    assert.deepEqual(await endOf(device.call("orders", 1)), ["NOT_ALLOWED", "refused"]);
    assert.deepEqual(await endOf(device.call("chat", 1)), ["answered", null]);
    assert.deepEqual(seen, ["chat"]);
  });

  test("of a user who is bound to another's connection comes as that user's, by that token", async () => {
    await serve("whoami", ({ uid }) => uid);
    const device = await attached("alice");
    const getToken = () => platform.token("bob", { routes: ["whoami"] });
    const bob = device.bind({ getToken, onMessage: () => undefined });
    await until("bob is attached", () => bob.state.name === "attached");
    const both = [device.call("whoami", 0), bob.call("whoami", 0)];
    assert.deepEqual(await Promise.all(both), ["alice", "bob"]);
    assert.deepEqual(await endOf(device.call("nobody", 0)), ["NO_SERVICE", "not-done"]);
    assert.deepEqual(await endOf(bob.call("nobody", 0)), ["NOT_ALLOWED", "refused"]);
  });

  test("is one of a queue's: each goes to one process, and those that close finish theirs", async () => {
    const seen: unknown[] = [];
    const take: CallHandler = ({ body }) => void seen.push(body);
    const [first] = [await serve("shared", take), await serve("shared", take)];
    const device = await attached("alice");
    const half = Array.from({ length: 30 }, (_, n) => device.call("shared", n));
    await Promise.all(half);
    const more = Array.from({ length: 30 }, (_, n) => device.call("shared", 30 + n));
    await first?.handled.close();
    await Promise.all(more);
    assert.deepEqual(
      seen.sort((a, b) => Number(a) - Number(b)),
      Array.from({ length: 60 }, (_, n) => n),
    );
  });

  test("whose service dies in mid-call ends by its deadline, and the next goes to another", async () => {
    const dying = await serve("mortal", () => new Promise(() => {}));
    const device = await attached("alice");
    const call = endOf(device.call("mortal", 1, { deadlineMs: 5_000 }));
    await until("it is at work", () => dying.handled.running === 1);
    await dying.connection.close();
    assert.deepEqual(await endOf(device.call("mortal", 2)), ["NO_SERVICE", "not-done"]);
    await serve("mortal", () => "alive");
    assert.equal(await device.call("mortal", 3), "alive");
    assert.deepEqual(await call, ["TIMEOUT", "unknown"]);
    await until("nothing is under way", async () => {
      const all = await Promise.all([callsOn("a"), callsOn("b")]);
      return all.every(({ underWay, bytes }) => underWay === 0 && bytes === 0);
    });
  });

  test("may say that a message was opened, and the service hears of it once", async () => {
    const { service, connection } = await serve("none", () => null);
    const receipts: string[] = [];
    const feed = service.receipts(({ kind, id, device }) => {
      receipts.push(`${kind} ${id} ${device}`);
    });
    await connection.flush();
    const device = await attached("opener", { device: "phone" });
    const answer = await platform.push("opener", { body: 1 });
    const id = answer.ok ? answer.id : "";
    for (let times = 0; times < 3; times++) device.opened(id);
    device.opened("0DGZRG3G80100001");
    await until("it is told", () => receipts.length > 0);
    const again = await attached("opener", { device: "phone" });
    again.opened(id);
    const last = await platform.push("opener", { body: 2 });
    again.opened(last.ok ? last.id : "");
    await until("the last is told", () => receipts.at(-1)?.includes(last.ok ? last.id : "-"));
    assert.deepEqual(receipts, [`opened ${id} phone`, `opened ${last.ok ? last.id : ""} phone`]);
    feed.unsubscribe();
  });
});

describe("a flood of calls", () => {
  test("of one app is bounded, ends by its deadlines, and harms nobody's pushes", async (t) => {
    // Longer than the edge takes for all of them on a busy machine.
    const deadlineMs = 15_000;
    const users = Array.from({ length: 160 }, (_, at) => `flood-${at}`);
    const service = await serve("hole", () => new Promise(() => {}), { concurrency: 10_000 });
    const flooding = await Promise.all(users.map((uid) => attached(uid, on("a"))));
    const shown: unknown[] = [];
    await attached("bystander", { ...on("a"), onMessage: ({ body }) => void shown.push(body) });
    const ends = flooding.flatMap((device) =>
      Array.from({ length: 63 }, (_, n) => endOf(device.call("hole", n, { deadlineMs }))),
    );
    const pushes = Array.from({ length: 200 }, (_, n) => n);
    for (const body of pushes) assert.ok((await platform.push("bystander", { body })).ok);
    await until("each push is there", () => shown.length === pushes.length);
    assert.deepEqual(shown, pushes);
    const most = (await callsOn("a")).underWay;
    const codes = new Map<string, number>();
    for (const [code] of await Promise.all(ends)) {
      codes.set(String(code), (codes.get(String(code)) ?? 0) + 1);
    }
    t.diagnostic(`${ends.length} calls: ${JSON.stringify([...codes])}, ${most} under way then`);
    assert.ok(ends.length > 10_000);
    assert.deepEqual([...codes.keys()].sort(), ["OVERLOADED", "TIMEOUT"]);
    assert.ok(most <= defaultLimits.appCallsMax);
    await until("the edge keeps nothing of them", async () => {
      const { underWay, bytes } = await callsOn("a");
      return underWay === 0 && bytes === 0;
    });
    // The rest never came so far.
    assert.equal(service.handled.running, codes.get("TIMEOUT"));
    await serve("alive", () => "yes");
    assert.equal(await flooding[0]?.call("alive", 1), "yes");
  });
});

// The last: they end nodes of the platform.
describe("when nodes are killed", () => {
  test("calls go on without the session's owner, and by another edge without this one", async () => {
    const running: ((value: string) => void)[] = [];
    await serve("kept", ({ body }) =>
      body === "wait" ? new Promise((resolve) => void running.push(resolve)) : body,
    );
    const [uid = ""] = usersIn(await shardsOf(platform, "b"), 1, "owned-by-b");
    const device = await attached(uid, on("a"));
    const across = device.call("kept", "wait", { deadlineMs: 20_000 });
    await until("the service is at work", () => running.length === 1);
    await platform.killNode("b");
    assert.equal(await device.call("kept", "while nobody owns it"), "while nobody owns it");
    running[0]?.("its owner is gone");
    assert.equal(await across, "its owner is gone");

    await platform.startNode("b");
    await platform.untilPlaced();
    const mover = await attached("mover", on("a", "b"));
    const lost = endOf(device.call("kept", "wait", { deadlineMs: 20_000 }));
    await until("the service is at work again", () => running.length === 2);
    await platform.killNode("a");
    assert.deepEqual(await lost, ["CONNECTION_LOST", "unknown"]);
    assert.equal(await mover.call("kept", "by b", { deadlineMs: 30_000 }), "by b");
    // To a connection that is gone: nobody is harmed.
    running[1]?.("too late");
    await platform.untilPlaced();
  });
});
