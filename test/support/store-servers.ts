/**
 * A MariaDB with an empty database and a Redis, and what nodes are told to use them.
 *
 *   await using servers = await startStoreServers();
 *   await using platform = await startPlatform({ environment: servers.environment });
 */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { MysqlPlace } from "../../src/drivers/mysql-connection.js";
import { mariadbPassword, mariadbUser, startMariadb } from "./mariadb-server.js";
import { makeDatabase } from "./mysql-database.js";
import { startRedis } from "./redis-server.js";
import type { ServerProcess } from "./server-process.js";

export interface StoreServers extends AsyncDisposable {
  readonly mariadb: ServerProcess;
  readonly redis: ServerProcess;
  readonly place: MysqlPlace;
  /** Of each node. */
  readonly environment: Readonly<Record<string, string>>;
}

export async function startStoreServers(
  redisOptions: readonly string[] = [],
): Promise<StoreServers> {
  const mariadb = await startMariadb();
  const redis = await startRedis(redisOptions);
  const place = await makeDatabase(mariadb.port);
  const passwordFile = join(mariadb.folder, "password");
  await writeFile(passwordFile, mariadbPassword, { mode: 0o600 });
  return {
    mariadb,
    redis,
    place,
    environment: {
      BELFRY_STORE: "redis-mysql",
      BELFRY_MYSQL_URL: `mysql://${mariadbUser}@127.0.0.1:${mariadb.port}/${place.database}`,
      BELFRY_MYSQL_PASSWORD_FILE: passwordFile,
      BELFRY_REDIS_URL: `redis://127.0.0.1:${redis.port}`,
      BELFRY_DATA_FOLDER: "",
    },
    [Symbol.asyncDispose]: async () => {
      await redis[Symbol.asyncDispose]();
      await mariadb[Symbol.asyncDispose]();
    },
  };
}
