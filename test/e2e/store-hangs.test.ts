/** MariaDB is stopped in its tracks: requests end in time, what was accepted arrives once. */
import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { defaultLimits } from "../../actors/limits.js";
import type { PushAnswer } from "../../src/protocol/push-answer.js";
import { mariadbPassword, mariadbUser, startMariadb } from "../support/mariadb-server.js";
import { makeDatabase } from "../support/mysql-database.js";
import { type Platform, startPlatform } from "../support/platform.js";
import { startRedis } from "../support/redis-server.js";
import { until } from "../support/until.js";

const hangMs = 8_000;
const everyMs = 100;
/** The publisher gives up later than the platform answers. */
const patienceMs = 15_000;

interface Asked {
  readonly id: string;
  readonly answer: PushAnswer;
  readonly tookMs: number;
}

async function ask(platform: Platform, uid: string, number: number): Promise<Asked> {
  const sentMs = performance.now();
  const id = `k${number}`;
  const answer = await platform.push(uid, { body: number, id }, patienceMs);
  return { id, answer, tookMs: performance.now() - sentMs };
}

test("answers every request by its deadline while MariaDB hangs, and delivers each once after", async () => {
  await using mariadb = await startMariadb();
  await using redis = await startRedis();
  const { database } = await makeDatabase(mariadb.port);
  const passwordFile = join(mariadb.folder, "password");
  await writeFile(passwordFile, mariadbPassword, { mode: 0o600 });
  await using platform = await startPlatform({
    nodes: ["a"],
    environment: {
      BELFRY_STORE: "redis-mysql",
      BELFRY_MYSQL_URL: `mysql://${mariadbUser}@127.0.0.1:${mariadb.port}/${database}`,
      BELFRY_MYSQL_PASSWORD_FILE: passwordFile,
      BELFRY_REDIS_URL: `redis://127.0.0.1:${redis.port}`,
      BELFRY_DATA_FOLDER: "",
      // It hangs on purpose: what the node says of it is no news.
      BELFRY_LOG_LEVEL: "silent",
    },
  });
  const shown: unknown[] = [];
  const passing: unknown[] = [];
  const device = platform.device("alice", {
    onMessage: ({ body }) => void shown.push(body),
    onPassing: ({ body }) => void passing.push(body),
  });
  await until("alice is attached", () => device.position !== undefined);
  const asked: Promise<Asked>[] = [ask(platform, "alice", 0)];
  assert.equal((await asked[0])?.answer.ok, true);
  mariadb.signal("SIGSTOP");
  asked.push(ask(platform, "alice", 1));
  const during = await platform.push("alice", { body: "now", qos: 0 });
  assert.equal(during.ok, true);
  await until("what is handed on at once arrives", () => passing.length === 1);
  for (let number = 2; number <= hangMs / everyMs; number++) {
    asked.push(ask(platform, "alice", number));
    await delay(everyMs);
  }
  mariadb.signal("SIGCONT");
  const answered = await Promise.all(asked);
  const slowest = Math.max(...answered.map(({ tookMs }) => tookMs));
  const codes = new Set(answered.flatMap(({ answer }) => (answer.ok ? [] : [answer.code])));
  console.log(`the slowest of ${answered.length} answers took ${Math.round(slowest)} ms`);
  // The test's own process is as busy as the node's: some slack for it.
  assert.ok(slowest <= defaultLimits.requestDeadlineMs + 1_000, `${slowest} ms`);
  assert.ok(codes.has("STORE_UNAVAILABLE"));
  assert.ok(answered.every(({ answer }) => answer.ok || answer.retryable));
  for (const [number] of answered.entries()) {
    await until(`push ${number} is stored`, async () => {
      const again = await platform.tryPush("alice", { body: number, id: `k${number}` });
      return again?.ok;
    });
  }
  await until("each is shown", () => new Set(shown).size === answered.length);
  assert.equal(shown.length, answered.length);
});
