/** An actor that fails on a message is restarted; nobody else notices. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { NatsBus } from "../../src/drivers/nats-bus.js";
import { systemClock, systemRandom } from "../../src/drivers/system-clock.js";
import { encodeDesk } from "../../src/protocol/operator-desk.js";
import { shardOf } from "../../src/protocol/shards.js";
import { operatorSubject } from "../../src/protocol/subjects.js";
import { addressOn } from "../../src/runtime/address.js";
import type { ActorDetails, TreeReport } from "../../src/runtime/inspection.js";
import { ActorSystem } from "../../src/runtime/system.js";
import { startPlatform } from "../support/platform.js";
import { until } from "../support/until.js";

test("restarts a session that fails on a poisoned message, and its siblings notice nothing", async () => {
  await using platform = await startPlatform({
    nodes: ["a"],
    environment: { BELFRY_LOG_LEVEL: "silent" },
  });
  const received = { mallory: [] as unknown[], alice: [] as unknown[] };
  const devices = (["mallory", "alice"] as const).map((user) =>
    platform.device(user, { onMessage: (message) => void received[user].push(message.body) }),
  );
  await until("both are attached", () => devices.every((device) => device.position !== undefined));
  await platform.push("mallory", { body: "before" });
  await until("it is served", () => received.mallory.length === 1);

  const record = await platform.nodeRecord("dc1-a");
  const ask = async <Value>(request: Parameters<typeof encodeDesk>[0]): Promise<Value> => {
    const subject = operatorSubject(record.nodeId, record.incarnation);
    const bytes = await new NatsBus(platform.operator).request(subject, encodeDesk(request), 5_000);
    return JSON.parse(new TextDecoder().decode(bytes)).value;
  };
  const shard = shardOf("demo", "mallory");
  const path = `shards/${shard % 8}/${shard}/demo.mallory`;
  const node = `${record.nodeId}.${record.incarnation}`;
  const poison = new ActorSystem({
    nodeId: "test-poison",
    incarnation: "x",
    clock: systemClock,
    random: systemRandom,
    bus: new NatsBus(platform.link),
  });
  poison.tell(addressOn(node, path), {
    kind: "Attach",
    edge: "nowhere.x/edge",
    connection: 1,
    device: "d",
  });

  const session = await until("the session was restarted", async () => {
    const details = await ask<ActorDetails | undefined>({
      kind: "actor",
      address: addressOn(node, path),
    });
    return details?.restarts === 1 && details.state !== "backoff" ? details : undefined;
  });
  assert.equal(session.kind, "session");
  const tree = await ask<TreeReport>({ kind: "tree", depth: 2, childLimit: 20 });
  assert.ok(JSON.stringify(tree).includes('"shard-group"'));
  await platform.push("mallory", { body: "after" });
  await platform.push("alice", { body: "as ever" });
  await until("its user is served again", () => received.mallory.length === 2);
  await until("its sibling was never bothered", () => received.alice.length === 1);
  assert.deepEqual(received.mallory, ["before", "after"]);
  assert.equal(platform.node("a").process.exitCode, null, "the process lives");
  await poison.stop(1_000);
});
