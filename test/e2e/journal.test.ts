/**
 * The delivery journal on real parts: an operator reads a message's path by the command, also
 * over the death of a node, and pushes do not notice when nothing can be journalled.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { runOperatorCommand } from "../support/operator-command.js";
import { type Platform, startPlatform } from "../support/platform.js";
import { until } from "../support/until.js";

type Step = Readonly<Record<string, string | number>>;

async function pathOf(platform: Platform, id: string): Promise<readonly Step[] | undefined> {
  const { exitCode, document } = await runOperatorCommand(platform, "message", id);
  return exitCode === 0 ? document.steps : undefined;
}

/** What is on its way into the journal is there within two flushes of each node by itself. */
function pathWith(
  platform: Platform,
  id: string,
  ...wanted: readonly string[]
): Promise<readonly Step[]> {
  return until(`${id} is ${wanted}`, async () => {
    const steps = await pathOf(platform, id);
    const names = new Set(steps?.map(({ step }) => step));
    return wanted.every((step) => names.has(step)) ? steps : undefined;
  });
}

async function pushed(platform: Platform, uid: string, command: object): Promise<string> {
  const answer = await platform.push(uid, command);
  assert.ok(answer.ok, JSON.stringify(answer));
  return answer.id;
}

test("tells a push's whole path, of an at-most-once one too, and the app's reach", async () => {
  await using platform = await startPlatform();
  const device = platform.device("alice", { onMessage: () => undefined });
  await until("alice is attached", () => device.position !== undefined);
  const id = await pushed(platform, "alice", { body: 1, id: "k" });
  assert.equal(await pushed(platform, "alice", { body: 1, id: "k" }), id);
  const whole = ["acked", "duplicate", "let-go", "sent", "stored", "written"];
  const steps = await pathWith(platform, id, ...whole);
  const names = steps.map(({ step }) => step);
  assert.deepEqual([...names].sort(), whole);
  assert.equal(names[0], "stored");
  const written = steps.find(({ step }) => step === "written");
  assert.match(String(written?.["edge"]), /^dc1-[ab]\..+\/edge$/);
  assert.equal(steps.at(-1)?.["reason"], "acked");
  for (const { atMs, node, epoch, channel } of steps) {
    assert.ok(Math.abs(Number(atMs) - Date.now()) < 60_000);
    assert.match(String(node), /^dc1-[ab]$/);
    assert.deepEqual([Number(epoch) > 0, channel], [true, "own"]);
  }
  const passed = await pushed(platform, "alice", { body: 2, qos: 0 });
  const path = await pathWith(platform, passed, "handed-on", "written");
  assert.equal(path[0]?.["step"], "handed-on");
  const { document } = await runOperatorCommand(platform, "app", "reach", "demo");
  assert.deepEqual([document.accepted, document.letGo], [1, { acked: 1 }]);
  assert.deepEqual(document.sample, { blocksRead: 64, blocks: 64, isCut: false });
});

test("loses at most the last second when a node is killed; the next owner's steps follow", async () => {
  await using platform = await startPlatform();
  const id = await pushed(platform, "bob", { body: 1 });
  const [stored] = await pathWith(platform, id, "stored");
  const owner = String(stored?.["node"]).slice("dc1-".length);
  await platform.killNode(owner);
  const received: unknown[] = [];
  platform.device("bob", { onMessage: ({ body }) => void received.push(body) });
  await until("bob has it", () => received.length > 0);
  const steps = await pathWith(platform, id, "let-go");
  assert.equal(steps[0]?.["node"], `dc1-${owner}`);
  const after = steps.filter(({ step }) => step !== "stored");
  assert.ok(after.every(({ node }) => node !== `dc1-${owner}`));
  assert.ok(after.every(({ epoch }) => Number(epoch) > Number(stored?.["epoch"])));
});

test("pushes go on where the journal has no room, and the node says so", async () => {
  const lines: string[] = [];
  const tooMuch = String(2 ** 52);
  await using platform = await startPlatform({
    nodes: ["a"],
    environment: { BELFRY_JOURNAL_BYTES: tooMuch, BELFRY_LOG_LEVEL: "warn" },
    onLog: (_, line) => void lines.push(line),
  });
  await until("the node has noticed", () =>
    lines.some((line) => line.includes("the delivery journal is not kept")),
  );
  const received: unknown[] = [];
  platform.device("carol", { onMessage: ({ body }) => void received.push(body) });
  for (let body = 0; body < 200; body++) await pushed(platform, "carol", { body });
  await until("all are shown", () => received.length === 200);
  assert.deepEqual(
    received,
    Array.from({ length: 200 }, (_, body) => body),
  );
});

test("keeps what happened while NATS was away, once it is back", async () => {
  await using platform = await startPlatform({ nodes: ["a"] });
  const received: unknown[] = [];
  const device = platform.device("dora", {
    onMessage: ({ body }) => void received.push(body),
  });
  await until("dora is attached", () => device.position !== undefined);
  const before = await pushed(platform, "dora", { body: 0 });
  platform.nats.kill("SIGKILL");
  await platform.nats.restart();
  const after = await until("a push is taken again", async () => {
    const answer = await platform.tryPush("dora", { body: 1, id: "again" });
    return answer?.ok ? answer.id : undefined;
  });
  await until("both are shown", () => received.length === 2);
  await until("the first one's path is there", async () => {
    const names = new Set((await pathOf(platform, before))?.map(({ step }) => step));
    return names.has("stored") && (names.has("let-go") || names.has("written"));
  });
  await pathWith(platform, after, "let-go");
});

test("a sample has some of the users, and tells the reach of those", async () => {
  await using platform = await startPlatform({
    nodes: ["a"],
    environment: { BELFRY_JOURNAL: "sample 64" },
  });
  const uids = Array.from({ length: 400 }, (_, number) => `u${number}`);
  const ids = await Promise.all(uids.map((uid) => pushed(platform, uid, { body: 1 })));
  const { document } = await until("some are there", async () => {
    const said = await runOperatorCommand(platform, "app", "reach", "demo");
    return said.document.accepted > 0 ? said : undefined;
  });
  assert.ok(document.accepted < ids.length / 4, `${document.accepted} of ${ids.length}`);
});
