/** A node is killed: the other takes its volumes, and nothing that was answered is lost. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { startPlatform } from "../support/platform.js";
import { until } from "../support/until.js";

test("loses nothing answered when one of two nodes is killed", async () => {
  await using platform = await startPlatform();
  const users = Array.from({ length: 24 }, (_, index) => `user-${index}`);
  const received = new Map<string, unknown[]>(users.map((user) => [user, []]));
  const devices = users.map((user) =>
    platform.device(user, { onMessage: (message) => void received.get(user)?.push(message.body) }),
  );
  await until("all are attached", () => devices.every((device) => device.position !== undefined));
  const accepted = new Map<string, number[]>(users.map((user) => [user, []]));
  const tryOnce = async (user: string, round: number) => {
    const answer = await platform.tryPush(user, { body: round, id: `${user}-${round}` });
    if (answer?.ok) accepted.get(user)?.push(round);
    return answer?.ok;
  };
  /** Under its key, so often as it takes: no answer in a second is a busy machine's, too. */
  const insist = (user: string, round: number) =>
    until(`${user} accepts ${round}`, () => tryOnce(user, round));
  const pushRound = async (round: number, push: typeof insist | typeof tryOnce) => {
    await Promise.all(users.map((user) => push(user, round)));
  };
  for (let round = 0; round < 5; round++) await pushRound(round, insist);
  await platform.killNode("a");
  for (let round = 5; round < 10; round++) await pushRound(round, tryOnce);
  await platform.untilPlaced();
  for (let round = 10; round < 15; round++) await pushRound(round, insist);
  for (const user of users) {
    const wanted = accepted.get(user) ?? [];
    await until(`${user} has all that was accepted`, () => {
      const shown = new Set(received.get(user));
      return wanted.every((round) => shown.has(round));
    });
    const shown = received.get(user) as number[];
    assert.deepEqual(
      shown,
      [...new Set(shown)].sort((a, b) => a - b),
      "in order, none twice",
    );
    assert.ok(wanted.length >= 10, "pushes before and after the kill were accepted");
  }
});

test("gives a node that came back its share of the volumes", async () => {
  await using platform = await startPlatform();
  await platform.killNode("b");
  await platform.untilPlaced();
  await platform.startNode("b");
  await until("b holds volumes again", async () => {
    const counts = await platform.shardCounts();
    return (counts.get("dc1-b") ?? 0) === 2_048 && (counts.get("dc1-a") ?? 0) === 2_048;
  });
  await platform.untilPlaced();
});

test("refuses a second node under the name of a live one", async () => {
  await using platform = await startPlatform({ nodes: ["a"] });
  await assert.rejects(platform.startNode("a"), /ended with 1/);
  assert.equal((await platform.push("alice", { body: 1 })).ok, true);
});
