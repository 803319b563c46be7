/** Durable lanes on real parts: the receipt, the order, the dead letters, and kill -9. */
import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { openEvents } from "../../src/drivers/nats-events.js";
import { NatsLanes } from "../../src/drivers/nats-lanes.js";
import { fillJetStream } from "../support/full-jetstream.js";
import { LaneService, setWorkers } from "../support/lane-load.js";
import { followerNames, untilBalanced } from "../support/placement-state.js";
import { app, type Platform, startPlatform } from "../support/platform.js";
import { until } from "../support/until.js";

const users = Array.from({ length: 24 }, (_, index) => `user-${index}`);

/** What each user's device showed, in order. */
async function attachAll(platform: Platform): Promise<Map<string, unknown[]>> {
  const shown = new Map<string, unknown[]>(users.map((uid) => [uid, []]));
  const devices = users.map((uid) => {
    const onMessage = ({ body }: { readonly body: unknown }) => void shown.get(uid)?.push(body);
    return platform.device(uid, { onMessage, onPassing: onMessage });
  });
  await until("all are attached", () => devices.every(({ state }) => state.name === "attached"));
  return shown;
}

function countOf(shown: Map<string, unknown[]>): number {
  return [...shown.values()].reduce((sum, bodies) => sum + bodies.length, 0);
}

function* backlog(perUser: number, from = 0) {
  for (let number = from; number < from + perUser; number++) {
    for (const uid of users) yield { uid, command: { body: number } };
  }
}

async function untilEmpty(lanes: NatsLanes, lane: string): Promise<void> {
  await until(
    `the lane ${lane} is empty`,
    // Nobody answers while the bus is away.
    async () => (await lanes.figures(lane).catch(() => undefined))?.messages === 0,
    60_000,
  );
}

test("delivers what a lane has, keeps what is no command, and takes nothing for no lane", async () => {
  await using platform = await startPlatform({ nodes: ["a"] });
  await using service = await LaneService.connect(platform);
  const lanes = await NatsLanes.open(platform.link);
  const shown = await attachAll(platform);
  await until("the lanes stand", async () => (await lanes.figures("high")) !== undefined);
  await service.publish("high", "user-0", { body: "first" });
  await service.publish("high", "user-0", { nonsense: true });
  await service.publish("high", "user-0", { body: "second", id: "k" });
  await service.publish("high", "user-0", { body: "second", id: "k" });
  await service.publish("high", "user-0", { body: "passing", qos: 0 });
  await untilEmpty(lanes, "high");
  await until("all is shown", () => shown.get("user-0")?.length === 3);
  assert.deepEqual(shown.get("user-0"), ["first", "second", "passing"]);
  const [letter, ...others] = await lanes.deadLetters("high", 10);
  assert.deepEqual([letter?.code, letter?.key, others.length], ["BAD_COMMAND", `${app}.user-0`, 0]);
  await assert.rejects(service.publish("none", "user-0", { body: 1 }));
});

/** A backlog that begins to drain while its owners are killed, stalled or moved. */
async function drainThrough(
  t: TestContext,
  platform: Platform,
  trouble: (isUnderWay: () => Promise<unknown>) => Promise<unknown>,
): Promise<void> {
  await using service = await LaneService.connect(platform);
  const lanes = await NatsLanes.open(platform.link);
  const shown = await attachAll(platform);
  await setWorkers(platform, "normal", 0);
  const perUser = 150;
  const count = await service.publishAll("normal", backlog(perUser));
  await setWorkers(platform, "normal", 64);
  const isUnderWay = () => until("it drains", () => countOf(shown) > count / 10);
  const meanwhile = (async () => {
    await isUnderWay();
    await service.publishAll("normal", backlog(perUser, perUser));
  })();
  await trouble(isUnderWay);
  await meanwhile;
  await untilEmpty(lanes, "normal");
  const total = 2 * count;
  await until("all is shown", () => countOf(shown) >= total, 60_000);
  t.diagnostic(`${countOf(shown)} shown of ${total}`);
  const expected = Array.from({ length: 2 * perUser }, (_, number) => number);
  for (const uid of users) assert.deepEqual(shown.get(uid), expected, uid);
}

test("loses, doubles and disorders nothing when an owner is killed while a lane drains", async (t) => {
  await using platform = await startPlatform({ nodes: ["a", "b"] });
  await untilBalanced(platform);
  await drainThrough(t, platform, async (isUnderWay) => {
    await isUnderWay();
    const [victim = ""] = await followerNames(platform);
    await platform.killNode(victim);
    await platform.startNode(victim);
  });
});

test("nor when the bus is killed and comes back", async (t) => {
  await using platform = await startPlatform({ nodes: ["a", "b"] });
  await untilBalanced(platform);
  const lanes = await NatsLanes.open(platform.link);
  await using service = await LaneService.connect(platform);
  const shown = await attachAll(platform);
  await setWorkers(platform, "normal", 0);
  const count = await service.publishAll("normal", backlog(200));
  await setWorkers(platform, "normal", 64);
  await until("it drains", () => countOf(shown) > count / 10);
  platform.nats.kill("SIGKILL");
  await platform.nats.restart();
  await untilEmpty(lanes, "normal");
  await until("all is shown", () => countOf(shown) >= count, 60_000);
  t.diagnostic(`${countOf(shown)} shown of ${count}`);
  for (const uid of users) {
    assert.deepEqual(
      shown.get(uid),
      Array.from({ length: 200 }, (_, number) => number),
      uid,
    );
  }
});

test("a node starts without room for lanes, and serves requests until there is some", async () => {
  const warned: string[] = [];
  await using platform = await startPlatform({
    nodes: [],
    environment: { BELFRY_LOG_LEVEL: "warn" },
    onLog: (_node, line) => void warned.push(line),
  });
  await openEvents(platform.link);
  const filling = await fillJetStream(platform.link);
  await platform.startNode("a");
  await platform.untilPlaced();
  assert.equal((await platform.push("user-0", { body: "by request" })).ok, true);
  await until("it warns", () => warned.some((line) => line.includes("queue is not there")));
  await using service = await LaneService.connect(platform);
  await assert.rejects(service.publish("high", "user-0", { body: "by a lane" }));
  await filling.clear();
  const lanes = await NatsLanes.open(platform.link);
  await until("the lanes stand", async () => (await lanes.figures("high")) !== undefined, 30_000);
  await service.publish("high", "user-0", { body: "by a lane" });
  await untilEmpty(lanes, "high");
});
