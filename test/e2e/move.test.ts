/** A second node starts under load: half of the volumes move to it, and nobody outside notices. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { NatsBus } from "../../src/drivers/nats-bus.js";
import { packValue } from "../../src/protocol/codec.js";
import { pushUserSubject } from "../../src/protocol/subjects.js";
import { app, type Platform, startPlatform } from "../support/platform.js";
import { untilShownInOrder } from "../support/shown-in-order.js";
import { until } from "../support/until.js";

const userCount = 50;
const pushesPerSecond = 200;

interface Load {
  readonly failed: string[];
  readonly sent: Map<string, number[]>;
  longestMs: number;
  longestBy: string;
  requests: number;
  publishes: number;
}

function emptyLoad(users: readonly string[]): Load {
  return {
    failed: [],
    sent: new Map(users.map((user) => [user, []])),
    longestMs: 0,
    longestBy: "",
    requests: 0,
    publishes: 0,
  };
}

/** Each user is sent so many before the move begins and after it has ended. */
const roundsAround = 2;

function pushCount({ requests, publishes }: Load): number {
  return requests + publishes;
}

/** Requests and plain publishes in turn, user by user, until `isOver`. */
async function runLoad(
  platform: Platform,
  users: readonly string[],
  load: Load,
  isOver: () => boolean,
): Promise<void> {
  const bus = new NatsBus(platform.operator);
  const pending: Promise<void>[] = [];
  const startMs = performance.now();
  for (let count = 0; !isOver(); count++) {
    const user = users[count % users.length] as string;
    load.sent.get(user)?.push(count);
    if (Math.floor(count / users.length) % 2 === 0) {
      load.requests++;
      pending.push(request(platform, load, user, count));
    } else {
      load.publishes++;
      bus.publish(pushUserSubject(app, user), packValue({ body: count }));
    }
    const dueMs = startMs + ((count + 1) * 1_000) / pushesPerSecond;
    await delay(Math.max(0, dueMs - performance.now()));
  }
  await Promise.all(pending);
}

async function request(platform: Platform, load: Load, user: string, body: number) {
  const sentMs = performance.now();
  try {
    const answer = await platform.push(user, { body });
    if (!answer.ok) load.failed.push(`${user} ${body}: ${answer.code}`);
  } catch (cause) {
    load.failed.push(`${user} ${body}: ${cause}`);
  }
  const tookMs = performance.now() - sentMs;
  if (tookMs > load.longestMs) {
    load.longestMs = tookMs;
    load.longestBy = `${user} ${body}`;
  }
}

test("moves half of the volumes under load without an error outside", async (t) => {
  await using platform = await startPlatform({ nodes: ["a"] });
  const users = Array.from({ length: userCount }, (_, index) => `user-${index}`);
  const received = new Map<string, unknown[]>(users.map((user) => [user, []]));
  const devices = users.map((user) =>
    platform.device(user, { onMessage: (message) => void received.get(user)?.push(message.body) }),
  );
  await until("all are attached", () => devices.every((device) => device.position !== undefined));
  let isOver = false;
  const load = emptyLoad(users);
  const loading = runLoad(platform, users, load, () => isOver);
  await until("the load runs", () => pushCount(load) >= roundsAround * userCount);
  await platform.startNode("b");
  await until("b serves its half", async () => {
    const counts = await platform.shardCounts();
    return counts.get("dc1-a") === 2_048 && counts.get("dc1-b") === 2_048;
  });
  const movedAt = pushCount(load);
  await until("it runs on", () => pushCount(load) >= movedAt + roundsAround * userCount);
  isOver = true;
  await loading;
  t.diagnostic(
    `${load.requests} requests, ${load.publishes} plain publishes; the longest request took ` +
      `${load.longestMs.toFixed(0)} ms (${load.longestBy})`,
  );
  assert.deepEqual(load.failed, []);
  assert.equal(load.sent.size, users.length);
  await untilShownInOrder(load.sent, received);
});
