/**
 * MariaDB stands still, or is gone, for longer than anybody waits: who asks for a stored
 * push is told within the deadline that it may be asked again, the loop of the nodes goes
 * on, and everything that was accepted is delivered afterwards.
 *
 *   STALL_SECONDS   20 unless given; the long form takes 60
 */
import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { defaultLimits } from "../../actors/limits.js";
import { loopDelayEnvironment, loopDelayOf } from "../support/loop-delay.js";
import { type Platform, startPlatform } from "../support/platform.js";
import { RecordedLoad } from "../support/recorded-load.js";
import { Starvation } from "../support/starvation.js";
import { startStoreServers } from "../support/store-servers.js";

const stallMs = Number(process.env["STALL_SECONDS"] || 20) * 1_000;
const users = Array.from({ length: 24 }, (_, index) => `user-${index}`);
const { requestDeadlineMs } = defaultLimits;
/** Asked once each, so often; a late answer is waited for so long. */
const askEveryMs = 250;
const patienceMs = 15_000;

interface Asked {
  readonly tookMs: number;
  /** Undefined when nobody answered. */
  readonly code: string | undefined;
  readonly isRetryable: boolean;
}

/** One request after the other, each to another user, until the stall is over. */
async function askWhile(platform: Platform, forMs: number): Promise<Asked[]> {
  const asked: Promise<Asked>[] = [];
  const endMs = performance.now() + forMs;
  for (let number = 0; performance.now() < endMs; number++) {
    asked.push(askOnce(platform, `asker-${number % 64}`, number));
    await delay(askEveryMs);
  }
  return Promise.all(asked);
}

async function askOnce(platform: Platform, uid: string, number: number): Promise<Asked> {
  const sentMs = performance.now();
  const answer = await platform.tryPush(uid, { body: number }, patienceMs);
  const tookMs = performance.now() - sentMs;
  if (answer === undefined) return { tookMs, code: undefined, isRetryable: false };
  return answer.ok
    ? { tookMs, code: "ok", isRetryable: true }
    : { tookMs, code: answer.code, isRetryable: answer.retryable };
}

async function tellLoops(t: TestContext, platform: Platform): Promise<void> {
  for (const { name, process: child } of platform.nodes.values()) {
    const { p50Ms, p99Ms, maxMs } = await loopDelayOf(child);
    t.diagnostic(
      `loop of ${name}: late by ${p50Ms.toFixed(1)} ms p50, ${p99Ms.toFixed(1)} ms p99, ` +
        `${maxMs.toFixed(1)} ms at most (goal: p99 < 20 ms)`,
    );
  }
}

function tellAsked(t: TestContext, asked: readonly Asked[], kind: string): void {
  const counts = new Map<string, number>();
  for (const { code = "no answer" } of asked) counts.set(code, (counts.get(code) ?? 0) + 1);
  const slowestMs = asked.reduce((most, { tookMs }) => Math.max(most, tookMs), 0);
  const told = [...counts].map(([code, count]) => `${count} ${code}`).join(", ");
  t.diagnostic(
    `${kind}: ${asked.length} asked: ${told}; the slowest took ${slowestMs.toFixed(0)} ms`,
  );
}

async function throughOutage(t: TestContext, kind: "stopped" | "killed"): Promise<void> {
  await using servers = await startStoreServers();
  const { mariadb } = servers;
  const environment = { ...servers.environment, ...loopDelayEnvironment };
  await using platform = await startPlatform({ environment, onLog: () => undefined });
  await using load = await RecordedLoad.start(platform, { users });
  await Promise.all([...platform.nodes.values()].map(({ process: child }) => loopDelayOf(child)));
  const starvation = new Starvation(platform);
  if (kind === "stopped") mariadb.signal("SIGSTOP");
  else await mariadb.crash();
  const asked = await askWhile(platform, stallMs);
  const starvedMs = starvation.ms();
  tellAsked(t, asked, `MariaDB ${kind} for ${stallMs / 1_000} s`);
  await tellLoops(t, platform);
  if (kind === "stopped") mariadb.signal("SIGCONT");
  else await mariadb.restart();
  await t.test("each is refused in time, and may be asked again", () => {
    const boundMs = requestDeadlineMs + 1_000 + starvedMs;
    const late = asked.filter(({ code, tookMs }) => code === undefined || tookMs > boundMs);
    assert.equal(late.length, 0, `of ${asked.length} so many had no answer in ${boundMs} ms`);
    assert.ok(asked.every(({ isRetryable }) => isRetryable));
  });
  await load.untilAnswered(2 * users.length);
  t.diagnostic(await load.settle());
}

test("delivers all that was accepted after MariaDB stood still", async (t) => {
  await throughOutage(t, "stopped");
});

test("delivers all that was accepted after MariaDB was gone", async (t) => {
  await throughOutage(t, "killed");
});
