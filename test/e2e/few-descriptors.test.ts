/**
 * A node with fewer descriptors than it has peers, which come again as soon as they are out:
 * whoever is connected is served, and all that needs a descriptor beside sockets has one.
 */
import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { test } from "node:test";
import { withDescriptors } from "../support/few-descriptors.js";
import { shakeHands } from "../support/handshakes.js";
import { type Platform, startPlatform } from "../support/platform.js";
import { RudeCrowd } from "../support/rude-crowd.js";
import { until } from "../support/until.js";

const descriptors = 256;
const crowdSize = 400;

class DescriptorWatch implements Disposable {
  most = 0;
  private readonly timer: NodeJS.Timeout;

  constructor(pid: number) {
    this.timer = setInterval(() => {
      this.most = Math.max(this.most, readdirSync(`/proc/${pid}/fd`).length);
    }, 20);
  }

  [Symbol.dispose](): void {
    clearInterval(this.timer);
  }
}

async function connected(platform: Platform, uid: string, edgeUrl: string) {
  const shown: unknown[] = [];
  platform.device(uid, { urls: [edgeUrl], onMessage: ({ body }) => void shown.push(body) });
  return async (body: string) => {
    await until(`${body} is accepted`, async () => (await platform.tryPush(uid, { body }))?.ok);
    await until(`${uid} is shown ${body}`, () => shown.includes(body));
  };
}

test("a node out of descriptors serves who is connected, finds NATS and volumes again, and recovers", async (t) => {
  const logged: string[] = [];
  await using platform = await startPlatform({
    nodes: ["a"],
    environment: { BELFRY_LOG_LEVEL: "warn" },
    onLog: (node, line) => void (node === "small" && logged.push(line)),
  });
  const program = await withDescriptors(platform.folder, descriptors);
  const { edgeUrl, httpUrl, pid } = await platform.startNode("small", {}, program);
  const aliceIsShown = await connected(platform, "alice", edgeUrl);
  await aliceIsShown("first");
  await until("it has its share", async () => {
    return (await platform.shardCounts()).get("dc1-small") === 2_048;
  });

  using crowd = new RudeCrowd(Number(new URL(httpUrl).port), crowdSize);
  using watch = new DescriptorWatch(pid);
  await until("it is full", () => (crowd.answered.get(503) ?? 0) > 0);
  await until("who comes is told when to come back", async () => {
    const { status, retryAfter } = await shakeHands(edgeUrl);
    return status === 503 && retryAfter === 5;
  });
  await aliceIsShown("while it is full");

  platform.nats.kill("SIGKILL");
  await platform.nats.restart();
  await until("the test is connected again", () => {
    return platform.link.isConnected && platform.operator.isConnected;
  });
  await aliceIsShown("when NATS is back");

  await platform.killNode("a");
  await until("it has opened the other's volumes", async () => {
    return (await platform.shardCounts()).get("dc1-small") === 4_096;
  });
  await platform.untilPlaced();
  await aliceIsShown("when it has all volumes");
  await until("its log tells of NATS", () => {
    return logged.some((line) => line.includes('"msg":"bus"'));
  });
  const refused = crowd.answered.get(503) ?? 0;
  await until("it is full still", () => (crowd.answered.get(503) ?? 0) > refused);

  crowd.leave();
  await until("there is room again", async () => {
    const { status, socket } = await shakeHands(edgeUrl);
    socket?.destroy();
    return status === 101;
  });
  const bobIsShown = await connected(platform, "bob", edgeUrl);
  await bobIsShown("a newcomer's");
  await aliceIsShown("afterwards");
  assert.ok(watch.most < descriptors, "there was one to spare at any time");
  const told = [...crowd.answered].map(([status, times]) => `${status}: ${times}`);
  t.diagnostic(`at most ${watch.most} of ${descriptors} descriptors; crowd: ${told.join(", ")}`);
  assert.ok(!logged.some((line) => line.includes("EMFILE")), "nothing wanted for one");
});
