/**
 * Redis loses what it has, or takes nothing more, under load: nothing accepted is lost,
 * and the copies of who comes back are made again. How long that takes is printed.
 */
import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { createService } from "../../src/client/service-client.js";
import { type Shard, shardCount, shardOf } from "../../src/protocol/shards.js";
import { encodeToken } from "../../src/protocol/tokens.js";
import { usersIn } from "../support/placement-state.js";
import { app, type Platform, startPlatform } from "../support/platform.js";
import { RecordedLoad } from "../support/recorded-load.js";
import { sendRedis } from "../support/redis-command.js";
import type { ServerProcess } from "../support/server-process.js";
import { startStoreServers } from "../support/store-servers.js";
import { until } from "../support/until.js";

const users = Array.from({ length: 24 }, (_, index) => `user-${index}`);
/** Those whose copies are looked at: each alone in its shard, with messages that wait. */
const waitingUsers = 40;
const waitingMessages = 30;
const never = { messagesMax: Number.MAX_SAFE_INTEGER, delayMs: 3_600_000 };

interface Setting {
  readonly platform: Platform;
  readonly redis: ServerProcess;
  readonly load: RecordedLoad;
  readonly waiting: readonly string[];
}

async function underLoad(t: TestContext, trouble: (setting: Setting) => Promise<void>) {
  await using servers = await startStoreServers();
  const { redis, environment } = servers;
  await using platform = await startPlatform({ environment, onLog: () => undefined });
  const all = new Set(Array.from({ length: shardCount }, (_, shard) => shard as Shard));
  const waiting = usersIn(all, waitingUsers, "waiting");
  await Promise.all(
    waiting.map(async (uid) => {
      for (let number = 0; number < waitingMessages; number++) {
        assert.equal((await platform.push(uid, { body: number })).ok, true);
      }
    }),
  );
  await using load = await RecordedLoad.start(platform, { users });
  await trouble({ platform, redis, load, waiting });
  await load.untilAnswered(users.length);
  t.diagnostic(await load.settle());
}

/**
 * Those who wait come, read, and acknowledge nothing, until Redis has a copy of each. What
 * a fill found changed meanwhile, as by the attach itself, the next read fills: so their
 * inboxes are listed until then. To come again would be another attempt, of few.
 */
async function msUntilRefilled({ platform, redis, waiting }: Setting): Promise<number> {
  const service = createService({ connection: platform.operator.client, app });
  const fromMs = performance.now();
  await Promise.all(
    waiting.map(async (uid) => {
      let shown = 0;
      const onMessage = () => void shown++;
      const reader = platform.device(uid, { device: "reader", acks: never, onMessage });
      await until(`${uid} is shown all`, () => shown === waitingMessages);
      await until(`${uid} has its copy again`, async () => {
        if ((await sendRedis(redis.port, `EXISTS ${keyOf(uid)}`)) === ":1") return true;
        await service.listInbox(uid, { limit: 1 }).catch(() => undefined);
        return false;
      });
      return reader;
    }),
  ).then((readers) => {
    // Only now: a goodbye acknowledges.
    for (const reader of readers) reader.close();
  });
  return performance.now() - fromMs;
}

function keyOf(uid: string): string {
  const [appToken, uidToken] = [encodeToken(app), encodeToken(uid)];
  return `belfry:{${shardOf(appToken, uidToken)}}:s:${appToken}.${uidToken}`;
}

async function tellRefill(t: TestContext, setting: Setting, after: string): Promise<void> {
  const ms = await msUntilRefilled(setting);
  t.diagnostic(
    `${waitingUsers} sessions of ${waitingMessages} messages were read and copied again ` +
      `${ms.toFixed(0)} ms after they came, after ${after}`,
  );
}

test("loses nothing over FLUSHALL under load, and refills", async (t) => {
  await underLoad(t, async (setting) => {
    const { redis, load } = setting;
    for (let time = 0; time < 3; time++) {
      assert.equal(await sendRedis(redis.port, "FLUSHALL"), "+OK");
      await load.untilAnswered(users.length);
    }
    await tellRefill(t, setting, "FLUSHALL");
  });
});

test("loses nothing when Redis is killed and starts empty, and refills", async (t) => {
  await underLoad(t, async (setting) => {
    const { redis, load } = setting;
    await redis.crash();
    await load.untilAnswered(2 * users.length);
    await redis.restart();
    await load.untilAnswered(users.length);
    await tellRefill(t, setting, "a restart");
  });
});

test("loses nothing while Redis is full, then read-only, and refills", async (t) => {
  await underLoad(t, async (setting) => {
    const { redis, load } = setting;
    const steps = [
      ["CONFIG SET maxmemory 1", "CONFIG SET maxmemory 0"],
      ["REPLICAOF 127.0.0.1 1", "REPLICAOF NO ONE"],
    ] as const;
    for (const [breaks, mends] of steps) {
      assert.equal(await sendRedis(redis.port, breaks), "+OK");
      await load.untilAnswered(2 * users.length);
      assert.equal(await sendRedis(redis.port, mends), "+OK");
    }
    await tellRefill(t, setting, "it was full and read-only");
  });
});
