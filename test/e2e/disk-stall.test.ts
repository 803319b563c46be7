/**
 * The disk under all inboxes takes no write for a while: who asks for a stored push is told
 * in time that it may be asked again, at-most-once messages and heartbeats go on, the loops
 * of the nodes do, and everything that was asked for is stored once and shown once.
 *
 *   STALL_SECONDS     8 unless given; the long form takes 30
 *   STALL_DISK=loop   on a disk that stands still (test/support/stalling-disk.ts)
 */
import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { defaultLimits } from "../../actors/limits.js";
import type { PushAnswer } from "../../src/protocol/push-answer.js";
import { EdgeSockets } from "../support/edge-sockets.js";
import { loopDelayEnvironment, loopDelayOf } from "../support/loop-delay.js";
import { type Platform, startPlatform } from "../support/platform.js";
import { shortHeartbeats, shortHeartbeatsImport } from "../support/short-heartbeats.js";
import { makeStallingDisk } from "../support/stalling-disk.js";
import { Starvation } from "../support/starvation.js";
import { until } from "../support/until.js";

const stallMs = Number(process.env["STALL_SECONDS"] || 8) * 1_000;
const { requestDeadlineMs } = defaultLimits;
const users = Array.from({ length: 16 }, (_, index) => `user-${index}`);
const askEveryMs = 100;
const patienceMs = 15_000;

const environment = {
  ...loopDelayEnvironment,
  NODE_OPTIONS: `${loopDelayEnvironment.NODE_OPTIONS} ${shortHeartbeatsImport}`,
  BELFRY_TEST_SHORT_HEARTBEATS: "1",
};

interface Asked {
  readonly uid: string;
  readonly command: { readonly body: string; readonly qos: 0 | 1; readonly id?: string };
  readonly tookMs: number;
  /** Undefined when nobody answered. */
  readonly answer: PushAnswer | undefined;
}

async function ask(platform: Platform, uid: string, command: Asked["command"]): Promise<Asked> {
  const sentMs = performance.now();
  const answer = await platform.tryPush(uid, command, patienceMs);
  return { uid, command, tookMs: performance.now() - sentMs, answer };
}

/** By turns a push that is to be stored and one that is not; none waits for another. */
async function askWhile(platform: Platform, forMs: number): Promise<Asked[]> {
  const asked: Promise<Asked>[] = [];
  const endMs = performance.now() + forMs;
  for (let number = 0; performance.now() < endMs; number++) {
    const uid = users[number % users.length] as string;
    const stored = { body: `stored ${number}`, qos: 1, id: `key-${number}` } as const;
    asked.push(ask(platform, uid, stored));
    asked.push(ask(platform, uid, { body: `passing ${number}`, qos: 0 }));
    await delay(askEveryMs);
  }
  return Promise.all(asked);
}

function nameOf({ uid, command, answer }: Asked): string {
  return `${command.body} to ${uid}: ${JSON.stringify(answer)}`;
}

/** Of one device each: what was shown, in order. */
async function connectAll(platform: Platform, sockets: EdgeSockets) {
  const shown = new Map(users.map((uid) => [uid, [] as unknown[]]));
  const devices = users.map((uid) =>
    platform.device(uid, {
      urls: sockets.urls,
      socket: sockets.socketOf(uid),
      onMessage: ({ body }) => void shown.get(uid)?.push(body),
      onPassing: ({ body }) => void shown.get(uid)?.push(body),
    }),
  );
  await until("all are attached", () => devices.every(({ state }) => state.name === "attached"));
  return shown;
}

function tell(t: TestContext, kind: string, asked: readonly Asked[]): void {
  const counts = new Map<string, number>();
  for (const { answer } of asked) {
    const code = answer === undefined ? "no answer" : answer.ok ? "ok" : answer.code;
    counts.set(code, (counts.get(code) ?? 0) + 1);
  }
  const slowestMs = asked.reduce((most, { tookMs }) => Math.max(most, tookMs), 0);
  const told = [...counts].map(([code, count]) => `${count} ${code}`).join(", ");
  t.diagnostic(`${kind}: ${asked.length} asked: ${told}; slowest ${slowestMs.toFixed(0)} ms`);
}

test("a disk that stands still costs stored pushes alone, and loses none", async (t) => {
  await using disk = await makeStallingDisk();
  await using platform = await startPlatform({
    environment: { ...environment, BELFRY_DATA_FOLDER: disk.dataFolder },
    onLog: () => undefined,
  });
  // Before the nodes are to end, whatever fails: they could not.
  await using _ = { [Symbol.asyncDispose]: () => disk.goOn() };
  const sockets = new EdgeSockets(platform, ["a", "b"]);
  const shown = await connectAll(platform, sockets);
  const nodes = [...platform.nodes.values()];
  await Promise.all(nodes.map(({ process: child }) => loopDelayOf(child)));
  const starvation = new Starvation(platform, false);
  await disk.stall();
  // The last of them is refused about when the disk goes on.
  const asked = await askWhile(platform, stallMs - requestDeadlineMs);
  const starvedMs = starvation.ms();
  const isMissing = ({ uid, command }: Asked) => !shown.get(uid)?.includes(command.body);
  const stored = asked.filter(({ command }) => command.qos === 1);
  const passing = asked.filter(({ command }) => command.qos === 0);
  tell(t, `the disk stood still for ${stallMs / 1_000} s, to be stored`, stored);
  tell(t, "at most once", passing);

  const boundMs = requestDeadlineMs + 1_000 + starvedMs;
  for (const { answer, tookMs } of stored) {
    assert.ok(answer !== undefined && tookMs <= boundMs, `answered in ${tookMs} ms: ${answer}`);
  }
  const refused = stored.filter(({ answer }) => answer?.ok === false);
  assert.ok(refused.length > stored.length / 4, "the disk did stand still");
  assert.ok(refused.every(({ answer }) => answer?.ok === false && answer.retryable));
  assert.ok(
    passing.every(({ answer }) => answer?.ok),
    "what needs no disk is handed on",
  );
  await until("what needs no disk is shown", () => !passing.some(isMissing));
  await disk.goOn();

  for (const { name, process: child } of nodes) {
    const { p50Ms, p99Ms, maxMs } = await loopDelayOf(child);
    t.diagnostic(
      `loop of ${name}: late by ${p50Ms.toFixed(1)} ms p50, ${p99Ms.toFixed(1)} ms p99, ` +
        `${maxMs.toFixed(1)} ms at most (goal: p99 < 20 ms)`,
    );
    assert.ok(maxMs < stallMs / 4 + starvedMs, `the loop of ${name} stood still for ${maxMs} ms`);
  }

  // Under its key each is stored once, whatever became of the first try.
  for (const { uid, command } of stored) {
    await until(
      `${command.body} is stored`,
      async () => (await platform.tryPush(uid, command))?.ok,
    );
  }
  await until("all is shown", () => !asked.some(isMissing)).catch(() =>
    assert.deepEqual(asked.filter(isMissing).map(nameOf), [], "all is shown"),
  );
  const count = users.reduce((sum, uid) => sum + (shown.get(uid)?.length ?? 0), 0);
  assert.equal(count, asked.length, "each is shown once");
  assert.ok(stallMs > shortHeartbeats.heartbeatDeadlineMs);
  for (const uid of users) assert.equal(sockets.openedBy(uid), 1, `the connection of ${uid} stays`);
});
