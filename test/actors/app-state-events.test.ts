/** When services are told that somebody looks at a user's app, on virtual time. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { appStateOf, tellAgainMs } from "../../actors/app-states.js";
import { defaultLimits } from "../../actors/limits.js";
import type { ClientAppState } from "../../src/protocol/client-surroundings.js";
import { clientKinds } from "../../src/protocol/frames.js";
import { sessionKey, shardOfKey } from "../../src/protocol/shards.js";
import { NodeBench } from "../support/node-bench.js";
import { ShardBench } from "../support/shard-bench.js";
import { eventIn } from "../support/stored-events.js";

const edge = "dc1-t.i/edge";
const { appStateEveryMs, offlineAfterMs, presenceGraceMs } = defaultLimits;

async function start(presence = true) {
  const bench = await ShardBench.start();
  bench.wishes = { presence };
  // Who is connected is known from then on.
  await bench.clock.advanceAndSettle(presenceGraceMs + 1_000);
  const told = () => bench.events.stored.map(eventIn).map(({ kind }) => kind);
  const say = (connection: number, app: ClientAppState) =>
    bench.tellSession("alice", { kind: "AppStateChanged", edge, connection, app });
  const detach = (connection: number) =>
    bench.tellSession("alice", { kind: "Detach", edge, connection });
  const pass = (ms: number) => bench.clock.advanceAndSettle(ms);
  return { bench, told, say, detach, pass };
}

describe("foreground and background", () => {
  test("are told as a client says, behind online, and end with offline", async () => {
    const { bench, told, say, detach, pass } = await start();
    await bench.attach("alice", 1, { app: "front" });
    await pass(1_000);
    assert.deepEqual(told(), ["online", "foreground"]);
    assert.equal(bench.events.stored[1]?.subject, "event.demo.user.alice.foreground");
    await pass(appStateEveryMs);
    await say(1, "background");
    assert.deepEqual(told().slice(2), ["background"]);
    assert.equal((await bench.stored("alice"))?.record.announced, "background");
    await detach(1);
    await pass(offlineAfterMs + 1_000);
    assert.deepEqual(told().slice(3), ["offline"]);
  });

  test("are not told of a client that does not say, nor to who wants no presence", async () => {
    const silent = await start();
    await silent.bench.attach("alice", 1);
    await silent.pass(60_000);
    assert.deepEqual(silent.told(), ["online"]);
    const unwanted = await start(false);
    await unwanted.bench.attach("alice", 1, { app: "front" });
    await unwanted.say(1, "background");
    await unwanted.pass(60_000);
    assert.deepEqual(unwanted.told(), []);
  });

  test("are of the user: foreground while any device is", async () => {
    const { bench, told, say, pass } = await start();
    await bench.attach("alice", 1, { app: "background" });
    await bench.attach("alice", 2, { device: "tablet", app: "front" });
    await pass(appStateEveryMs);
    assert.deepEqual(told(), ["online", "background", "foreground"]);
    await say(1, "front");
    await say(1, "background");
    await pass(60_000);
    assert.deepEqual(told().slice(3), [], "the tablet is looked at all the while");
    await say(2, "background");
    await pass(1_000);
    assert.deepEqual(told().slice(3), ["background"]);
  });

  test("come no faster than they may, and end as it is, however fast a client flips", async () => {
    const { bench, told, say, pass } = await start();
    await bench.attach("alice", 1, { app: "front" });
    for (let flip = 0; flip < 100; flip++) {
      await say(1, flip % 2 === 0 ? "background" : "front");
      await pass(190);
    }
    // 100 flips in 20 s.
    assert.ok(told().length <= 2 + Math.ceil(20_000 / appStateEveryMs), `${told().length} events`);
    await say(1, "background");
    await pass(2 * appStateEveryMs);
    const events = told();
    assert.equal(events.at(-1), "background");
    for (const [index, kind] of events.entries()) assert.notEqual(kind, events[index + 1]);
  });

  test("hold while who looked may only have lost the connection", async () => {
    const { bench, told, detach, pass } = await start();
    await bench.attach("alice", 1, { app: "background" });
    await bench.attach("alice", 2, { device: "tablet", app: "front" });
    await pass(60_000);
    assert.deepEqual(told(), ["online", "background", "foreground"]);
    await detach(2);
    await pass(offlineAfterMs - 1_000);
    await bench.attach("alice", 3, { device: "tablet", app: "front" });
    await pass(60_000);
    assert.deepEqual(told().slice(3), []);
    await detach(3);
    await pass(offlineAfterMs + 1_000);
    assert.deepEqual(told().slice(3), ["background"]);
  });

  test("say nothing of one device that comes back in time as it was", async () => {
    const { bench, told, detach, pass } = await start();
    await bench.attach("alice", 1, { app: "front" });
    await pass(60_000);
    await detach(1);
    await pass(offlineAfterMs - 1_000);
    await bench.attach("alice", 2, { app: "front" });
    await pass(60_000);
    assert.deepEqual(told(), ["online", "foreground"]);
  });

  test("are as the device says that comes back, be it nothing", async () => {
    const { bench, told, detach, pass } = await start();
    await bench.attach("alice", 1, { app: "front" });
    await pass(60_000);
    await detach(1);
    await bench.attach("alice", 2, { app: "background" });
    await pass(60_000);
    assert.deepEqual(told(), ["online", "foreground", "background"]);
    // By an edge that knew no better.
    await detach(2);
    await bench.attach("alice", 3);
    await pass(60_000);
    assert.deepEqual(told().slice(3), []);
  });

  test("go on at a new owner, to which the attaches bring them, one after the other", async () => {
    const { bench, told, say, pass } = await start();
    await bench.attach("alice", 1, { app: "front" });
    await bench.attach("alice", 2, { device: "tablet", app: "background" });
    await pass(60_000);
    await bench.giveShards();
    await bench.attach("alice", 2, { device: "tablet", app: "background" });
    await pass(1_000);
    await bench.attach("alice", 1, { app: "front" });
    await pass(60_000);
    assert.deepEqual(told(), ["online", "foreground"]);
    await say(1, "background");
    await pass(1_000);
    assert.deepEqual(told().slice(2), ["background"]);
  });

  test("are as an attach says that was answered a moment ago", async () => {
    const { bench, told, pass } = await start();
    await bench.attach("alice", 1, { app: "front" });
    await bench.attach("alice", 1, { app: "background" });
    await pass(2 * appStateEveryMs);
    assert.deepEqual(told(), ["online", "foreground", "background"]);
  });

  test("are said by one that is connected: another's word counts for nothing", async () => {
    const { bench, told, say, pass } = await start();
    await bench.attach("alice", 1, { app: "front" });
    await pass(60_000);
    await say(7, "background");
    await pass(60_000);
    assert.deepEqual(told(), ["online", "foreground"]);
  });
});

test("a user looks where any connected device does, or does not say", () => {
  const device = (app?: ClientAppState, isConnected = true) => ({ app, isConnected });
  assert.equal(appStateOf([]), undefined);
  assert.equal(appStateOf([device()]), undefined);
  assert.equal(appStateOf([device("background"), device()]), "front");
  assert.equal(appStateOf([device("background"), device("front", false)]), "background");
  assert.equal(appStateOf([device("front", false)]), undefined);
});

test("what a client told stands in the attach to a new owner, too", async () => {
  const bench = await NodeBench.start(["a"]);
  bench.wishes = { presence: true };
  const { edge } = bench.node("a");
  const clients = Array.from({ length: 8 }, (_, at) =>
    edge.connect(`u${at}`, "d", { app: "front" }),
  );
  const silent = edge.connect("silent", "d");
  await bench.until("all are attached", () => [...clients, silent].every((one) => one.isAttached));
  for (const client of clients) client.send([clientKinds.tell, { app: "background" }]);
  await bench.run(1_000);
  bench.addNode("b");
  await bench.until("the new node has its share", () => bench.isSettled() && !bench.isMoving());
  const ofB = clients.map((_, at) => `u${at}`).filter((uid) => ownerOf(bench, uid) === "dc1-b");
  assert.ok(ofB.length > 0, "some of them have moved");
  await bench.until("they are attached there", () =>
    ofB.every((uid) => bench.connectionsOf(uid).every((connection) => connection !== null)),
  );
  for (const uid of ofB) assert.deepEqual(appsOf(bench, uid), ["background"]);
  assert.deepEqual(appsOf(bench, "silent"), [null]);
  await bench.run(60_000);
  const kinds = bench.events.stored.map(eventIn).filter(({ uid }) => uid === ofB[0]);
  assert.deepEqual(
    kinds.map(({ kind }) => kind),
    ["online", "foreground", "background"],
  );
});

test("what is lost on its way to the session is told again, and no flip by itself", async () => {
  const bench = await NodeBench.start(["a", "b"]);
  const uid = bench.userOf(bench.node("b"));
  const client = bench.node("a").edge.connect(uid, "d", { app: "front" });
  await bench.until("it is attached", () => client.isAttached);
  await bench.run(1_000);
  const say = (app: string) => client.send([clientKinds.tell, { app }]);
  const a = bench.node("a");
  const sent = () =>
    a.bus.published.filter(({ payload }) => Buffer.from(payload).includes("AppStateChanged"))
      .length;
  a.process.isOut = true;
  say("background");
  await bench.run(200);
  a.process.isOut = false;
  assert.deepEqual(appsOf(bench, uid), ["front"]);
  await bench.run(tellAgainMs);
  assert.deepEqual(appsOf(bench, uid), ["background"]);
  await bench.run(2 * tellAgainMs);
  const before = sent();
  for (let flip = 0; flip < 201; flip++) say(flip % 2 === 0 ? "front" : "background");
  await bench.run(100);
  assert.deepEqual(appsOf(bench, uid), ["front"], "the first one at once");
  say("background");
  await bench.run(3 * tellAgainMs);
  assert.deepEqual(appsOf(bench, uid), ["background"], "then as it stands");
  assert.equal(sent() - before, 3, "all of that in three messages");
});

function ownerOf(bench: NodeBench, uid: string): string | undefined {
  return bench.owners()[shardOfKey(sessionKey("demo", uid)) % 8];
}

function appsOf(bench: NodeBench, uid: string): unknown[] {
  const key = sessionKey("demo", uid);
  const shard = shardOfKey(key);
  const owner = bench.nodeOf(ownerOf(bench, uid) ?? "");
  const session = owner.system.find(`shards/${bench.inboxes.groupOf(shard)}/${shard}/${key}`);
  const seen = session?.cell.inspect() as { devices: { app: unknown }[] } | undefined;
  return seen?.devices.map(({ app }) => app) ?? [];
}
