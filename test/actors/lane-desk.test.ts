/** What operators ask of lanes, on lanes and a bucket in memory. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { answerLaneRequest } from "../../actors/lane-desk.js";
import { defaultLaneLimits } from "../../actors/lane-limits.js";
import type { NodeContext } from "../../actors/node-context.js";
import { OperatorDesk } from "../../actors/operator-desk.js";
import { Fault } from "../../src/base/result.js";
import { MemoryBus } from "../../src/drivers/memory-bus.js";
import { MemoryKeyValue } from "../../src/drivers/memory-key-value.js";
import { MemoryLanes } from "../../src/drivers/memory-lanes.js";
import { systemClock } from "../../src/drivers/system-clock.js";
import type { ErrorAnswer } from "../../src/protocol/errors.js";
import {
  decodeLaneRecord,
  encodeLaneRecord,
  type LaneRecord,
  laneRecordVersion,
} from "../../src/protocol/lane-record.js";
import {
  type DeskAnswer,
  decodeDeskRequest,
  type LaneRequest,
} from "../../src/protocol/operator-desk.js";
import { sessionKey } from "../../src/protocol/shards.js";
import { operatorSubject } from "../../src/protocol/subjects.js";
import { ActorSystem } from "../../src/runtime/system.js";
import { VirtualClock } from "../support/virtual-clock.js";

async function start() {
  const queues = new MemoryLanes(systemClock);
  const bucket = new MemoryKeyValue(systemClock);
  const high: LaneRecord = { v: laneRecordVersion, lane: "high", weight: 8, workers: 100 };
  await bucket.create("high", encodeLaneRecord(high));
  await queues.ensure(high);
  const lanes = { queues, bucket, directory: { all: () => [] }, limits: defaultLaneLimits };
  const apps = { find: (app: string) => (app === "shop" ? ({} as never) : undefined) };
  const node = { lanes, apps } as unknown as NodeContext;
  /** As it comes from the bus. */
  const ask = (request: LaneRequest) => {
    const decoded = decodeDeskRequest(new TextEncoder().encode(JSON.stringify(request)));
    assert.deepEqual(decoded, { ok: true, value: request });
    return answerLaneRequest(node, request);
  };
  const refusal = async (request: LaneRequest) => {
    const answer = await ask(request);
    return answer.ok ? undefined : answer.code;
  };
  return { node, queues, bucket, ask, refusal };
}

const body = new Uint8Array([1]);

test("an app's lane is made, paced and dropped; what waits in it goes only if that is said", async () => {
  const { queues, bucket, ask, refusal } = await start();
  const create = { kind: "lane-create", lane: "vip", app: "shop" } as const;
  assert.equal(await refusal({ ...create, app: "nobody" }), "UNKNOWN_APP");
  assert.equal((await ask(create)).ok, true);
  assert.equal(await refusal(create), "CONFLICT");
  await queues.publish("vip", sessionKey("shop", "alice"), body);
  await assert.rejects(queues.publish("vip", sessionKey("other", "alice"), body));
  assert.equal((await ask({ kind: "lane-set", lane: "vip", workers: 0 })).ok, true);
  const stored = decodeLaneRecord((await bucket.get("vip"))?.value ?? body);
  assert.deepEqual([stored?.app, stored?.workers, stored?.weight], ["shop", 0, 3]);
  const listed = await ask({ kind: "lanes" });
  const shown = (listed.ok ? listed.value : {}) as { lanes: Record<string, unknown>[] };
  assert.deepEqual(shown.lanes.map(({ lane, app, messages }) => [lane, app, messages]).sort(), [
    ["high", null, 0],
    ["vip", "shop", 1],
  ]);
  const drop = { kind: "lane-drop", lane: "vip", discard: false } as const;
  assert.equal(await refusal(drop), "BAD_COMMAND");
  assert.equal((await ask({ ...drop, discard: true })).ok, true);
  assert.equal(await refusal(drop), "NOT_FOUND");
  assert.equal(await refusal({ kind: "lane-set", lane: "vip", weight: 2 }), "NOT_FOUND");
  assert.equal(await queues.figures("vip"), undefined);
  assert.equal(await refusal({ ...drop, lane: "high" }), "BAD_COMMAND");
});

test("a lane whose queue is refused is not there by half, and can be made again", async () => {
  const { queues, bucket, ask, refusal } = await start();
  const create = { kind: "lane-create", lane: "vip", app: "shop" } as const;
  const { ensure } = queues;
  const failing = (outcome: "not-done" | "unknown") => async () => {
    throw new Fault("LANE_UNAVAILABLE", outcome, "insufficient storage resources");
  };
  queues.ensure = failing("not-done");
  const refused = await ask(create);
  assert.match(refused.ok ? "" : refused.message, /insufficient storage/);
  assert.equal(await bucket.get("vip"), undefined);
  // What became of it is not known: the record stays, and the same request goes on from there.
  queues.ensure = failing("unknown");
  assert.equal(await refusal(create), "INTERNAL");
  assert.notEqual(await bucket.get("vip"), undefined);
  queues.ensure = ensure;
  assert.equal((await ask(create)).ok, true);
  assert.equal((await queues.figures("vip"))?.messages, 0);
  assert.equal(await refusal(create), "CONFLICT");
});

test("a drop that failed on its way is finished by the next one", async () => {
  const { queues, ask, refusal } = await start();
  assert.equal((await ask({ kind: "lane-create", lane: "vip", app: "shop" })).ok, true);
  const request = { kind: "lane-drop", lane: "vip", discard: false } as const;
  const { drop } = queues;
  queues.drop = async () => {
    throw new Fault("LANE_UNAVAILABLE", "unknown", "no answer");
  };
  assert.equal(await refusal(request), "INTERNAL");
  queues.drop = drop;
  assert.equal((await ask(request)).ok, true);
  assert.equal(await queues.figures("vip"), undefined);
  assert.equal(await refusal(request), "NOT_FOUND");
});

test("dead letters are shown by their users' names, and replayed by their numbers", async () => {
  const { queues, ask } = await start();
  const key = sessionKey("demo", "al%2Eice");
  const why = { code: "BAD_COMMAND", message: "no body", attempts: 1 };
  for (const sequence of [4, 5]) {
    const letter = { lane: "high", key, payload: body, sequence, storedAtMs: 1, ...why };
    await queues.bury(letter);
  }
  const dead = await ask({ kind: "lane-dead", lane: "high", limit: 1 });
  const shown = (dead.ok ? dead.value : {}) as { total: number; letters: { uid: string }[] };
  assert.deepEqual([shown.total, shown.letters.length, shown.letters[0]?.uid], [2, 1, "al.ice"]);
  const replayed = await ask({ kind: "lane-replay", lane: "high", numbers: [1, 9] });
  assert.deepEqual(replayed.ok && replayed.value, { lane: "high", replayed: [1], missing: [9] });
  assert.deepEqual((await queues.figures("high"))?.messages, 1);
});

test("requests out of range are no requests, and a node without lanes says so", async () => {
  for (const bad of [
    { kind: "lane-set", lane: "DEAD" },
    { kind: "lane-set", lane: "low", workers: -1 },
    { kind: "lane-set", lane: "low", weight: 0 },
    { kind: "lane-dead", lane: "low", limit: 1_001 },
    { kind: "lane-replay", lane: "low", numbers: [0.5] },
    { kind: "lane-replay", lane: "low", numbers: Array.from({ length: 101 }, () => 1) },
    { kind: "lane-drop", lane: "low" },
    { kind: "lane-create", lane: "low" },
  ]) {
    const decoded = decodeDeskRequest(new TextEncoder().encode(JSON.stringify(bad)));
    assert.equal(decoded.ok === false && decoded.code, "BAD_COMMAND", JSON.stringify(bad));
  }
  const answer = await answerLaneRequest({} as NodeContext, { kind: "lanes" });
  assert.equal(answer.ok === false && answer.code, "UNSUPPORTED");
});

test("the desk answers others while lanes are asked of, and bounds those who ask", async () => {
  const clock = new VirtualClock();
  const bus = new MemoryBus(clock);
  const { node, queues } = await start();
  // JetStream says nothing.
  queues.figures = () => new Promise(() => undefined);
  const member = { nodeId: "dc1-t", incarnation: "i" };
  const surroundings = { ...member, clock, bus, random: { next: () => 0 } };
  const system = new ActorSystem({ ...surroundings, onCrash: ({ error }) => assert.fail(error) });
  system.spawnRoot("desk", () => new OperatorDesk({ ...node, ...surroundings }, () => system));
  await clock.advanceAndSettle(10);
  const answers = new Map<string, DeskAnswer | ErrorAnswer>();
  const ask = (name: string, request: object) => {
    const reply = `_INBOX.${name}`;
    bus.subscribe(reply, ({ payload }) => {
      answers.set(name, JSON.parse(new TextDecoder().decode(payload)));
    });
    const payload = new TextEncoder().encode(JSON.stringify(request));
    bus.publish(operatorSubject(member.nodeId, member.incarnation), payload, { reply });
  };
  for (let number = 1; number <= 5; number++) ask(`lanes-${number}`, { kind: "lanes" });
  ask("tree", { kind: "tree", depth: 1, childLimit: 1 });
  await clock.advanceAndSettle(10);
  const refused = answers.get("lanes-5");
  assert.deepEqual([...answers.keys()].sort(), ["lanes-5", "tree"]);
  assert.equal(refused?.ok === false && refused.code, "OVERLOADED");
  assert.equal(answers.get("tree")?.ok, true);
});
