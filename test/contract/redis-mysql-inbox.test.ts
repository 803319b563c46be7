import { after, before } from "node:test";
import { RedisMysqlInbox } from "../../src/drivers/redis-mysql-inbox.js";
import { startMariadb } from "../support/mariadb-server.js";
import { makeStoreDatabase } from "../support/mysql-database.js";
import { startRedis } from "../support/redis-server.js";
import type { ServerProcess } from "../support/server-process.js";
import { until } from "../support/until.js";
import { inboxStoreContract } from "./inbox-store.js";

let mariadb: ServerProcess;
let redis: ServerProcess;
before(async () => {
  mariadb = await startMariadb();
  redis = await startRedis();
});
after(async () => {
  await mariadb[Symbol.asyncDispose]();
  await redis[Symbol.asyncDispose]();
});

inboxStoreContract("redis-mysql", async () => {
  const place = await makeStoreDatabase(mariadb.port);
  const store = new RedisMysqlInbox({
    place,
    redis: { host: "127.0.0.1", port: redis.port },
    // Each test has a database of its own, and one Redis.
    copy: { prefix: place.database },
  });
  await until("Redis is connected", () => store.client.isReady);
  return { store, dispose: () => store.close() };
});
