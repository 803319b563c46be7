/**
 * Real processes that lose their lease: the bus is gone for longer, or they are stopped
 * past it.
 */
import assert from "node:assert/strict";
import { once } from "node:events";
import { test } from "node:test";
import type { Shard } from "../../src/protocol/shards.js";
import { readTable } from "../support/placement-state.js";
import { type Platform, patientLeaseMs, startPlatform } from "../support/platform.js";
import { Starvation } from "../support/starvation.js";
import { until } from "../support/until.js";

const volumes = 8;

/** The node id that each volume belongs to, once all are served. */
async function volumeOwners(platform: Platform): Promise<string[]> {
  const table = await readTable(platform);
  const owners = Array.from({ length: volumes }, (_, volume) => table.ownerOf(volume as Shard));
  return owners.flatMap((owner) => (owner?.state === "serving" ? [owner.nodeId] : []));
}

async function incarnationsOf(platform: Platform): Promise<string[]> {
  const records = await Promise.all(["dc1-a", "dc1-b"].map((name) => platform.nodeRecord(name)));
  return records.map(({ incarnation }) => incarnation);
}

test("a bus that is gone past the lease costs no socket, no process and no volume", async () => {
  await using platform = await startPlatform();
  const users = Array.from({ length: 16 }, (_, index) => `user-${index}`);
  const received = new Map<string, unknown[]>(users.map((user) => [user, []]));
  const states: string[] = [];
  const devices = users.map((user) =>
    platform.device(user, {
      onMessage: (message) => void received.get(user)?.push(message.body),
      onState: (state) => void states.push(state.name),
    }),
  );
  await until("all are attached", () => devices.every((device) => device.position !== undefined));
  const before = await until("all is served", async () => {
    const owners = await volumeOwners(platform);
    return owners.length === volumes ? owners : undefined;
  });
  const formerly = await incarnationsOf(platform);
  const pids = [...platform.nodes.values()].map(({ pid }) => pid);
  for (const user of users) assert.ok((await platform.push(user, { body: 1, id: "1" })).ok);
  states.length = 0;
  platform.nats.kill("SIGKILL");
  for (const { name, httpUrl } of platform.nodes.values()) {
    const isLost = async () => !(await fetch(`${httpUrl}/healthz`)).ok;
    await until(`the lease of ${name} is over`, isLost);
  }
  await platform.nats.restart();
  await until("the tests' connections are back", () => platform.link.isConnected);
  await until("both have rejoined", async () => {
    const now = await incarnationsOf(platform).catch(() => formerly);
    return now.every((incarnation, index) => incarnation !== formerly[index]);
  });
  await until(
    "all is served again",
    async () => (await volumeOwners(platform))?.length === volumes,
  );
  await platform.untilPlaced();
  for (const user of users) assert.ok((await platform.push(user, { body: 2, id: "2" })).ok);
  for (const user of users) {
    await until(`${user} has both`, () => received.get(user)?.length === 2);
    assert.deepEqual(received.get(user), [1, 2]);
  }
  assert.deepEqual(states, [], "no device has noticed");
  assert.deepEqual(
    [...platform.nodes.values()].map(({ pid }) => pid),
    pids,
  );
  assert.deepEqual(await volumeOwners(platform), before);
});

test("a process that is stopped past its lease is killed by who takes its volumes", async () => {
  await using platform = await startPlatform();
  const node = platform.node("b");
  const ended = once(node.process, "exit") as Promise<[number | null, string | null]>;
  const starvation = new Starvation(platform);
  const stoppedMs = performance.now();
  node.process.kill("SIGSTOP");
  await until("a has all volumes", async () => {
    const owners = await volumeOwners(platform);
    return owners.length === volumes && owners.every((owner) => owner === "dc1-a");
  });
  await platform.untilPlaced();
  const servedMs = Math.round(performance.now() - stoppedMs);
  const starvedMs = starvation.ms();
  const [, signal] = await ended;
  assert.equal(signal, "SIGKILL");
  assert.ok(servedMs < patientLeaseMs + 5_000 + starvedMs, `served again after ${servedMs} ms`);
  console.log(`served again ${servedMs} ms after the SIGSTOP`);
});
