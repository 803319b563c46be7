/**
 * The inbox store of a topology: what its nodes are told by environment, and the private
 * servers behind it, where they are not given.
 */
import { randomBytes } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { migrateStore } from "./open-inbox-store.js";
import { readStoreSettings } from "./settings.js";
import { writePrivately } from "./setup/nats-secrets.js";
import { planMariadb } from "./setup/private-mariadb.js";
import { planRedis } from "./setup/private-redis.js";
import { findProgram, PrivateServer } from "./setup/private-server.js";
import type { RunLedger } from "./setup/run-ledger.js";
import type { RedisMysqlStore, Topology } from "./topology-file.js";

/** In private servers, and in their data for ever: the database and its user. */
const owner = "belfry";

/** `servers` has each one as soon as it runs, so that a start that fails can end them. */
export async function startStore(
  store: Topology["store"],
  folder: string,
  ledger: RunLedger,
  servers: Map<string, PrivateServer>,
): Promise<NodeJS.ProcessEnv> {
  if (store.kind === "lmdb") {
    const dataFolder = resolve(store.dataFolder ?? join(folder, "data"));
    return { BELFRY_STORE: "lmdb", BELFRY_DATA_FOLDER: dataFolder };
  }
  const environment = {
    BELFRY_STORE: "redis-mysql",
    BELFRY_DATA_FOLDER: "",
    ...(await startMysql(store.mysql, join(folder, "mariadb"), ledger, servers)),
    ...(await startRedis(store.redis, join(folder, "redis"), ledger, servers)),
  };
  await migrateStore(readStoreSettings({ ...process.env, ...environment }));
  return environment;
}

async function startMysql(
  mysql: RedisMysqlStore["mysql"],
  folder: string,
  ledger: RunLedger,
  servers: Map<string, PrivateServer>,
): Promise<NodeJS.ProcessEnv> {
  // The nodes read the rest of it from the environment as well.
  if ((process.env["BELFRY_MYSQL_URL"] ?? "") !== "") return {};
  if (mysql !== "private") {
    return {
      BELFRY_MYSQL_URL: mysql.url,
      ...given("BELFRY_MYSQL_PASSWORD_FILE", mysql.passwordFile),
      ...given("BELFRY_MYSQL_TLS", mysql.tls),
      ...given("BELFRY_MYSQL_CA_FILE", mysql.caFile),
    };
  }
  const passwordFile = join(folder, "password");
  const password = await ensurePassword(passwordFile);
  const firstStatements = [
    `create database ${owner}`,
    `create user ${owner}@'%' identified by '${password}'`,
    `grant all on ${owner}.* to ${owner}@'%'`,
  ];
  const program = await findProgram("ensure-mariadb.mjs", true);
  const rootFile = join(folder, "root.sql");
  await writePrivately(rootFile, lockRoot(await ensurePassword(join(folder, "root-password"))));
  const plan = planMariadb(program, firstStatements, [`--init-file=${rootFile}`]);
  const server = await PrivateServer.start(plan, { folder, ledger });
  servers.set(plan.name, server);
  return {
    BELFRY_MYSQL_URL: `mysql://${owner}@127.0.0.1:${server.port}/${owner}`,
    BELFRY_MYSQL_PASSWORD_FILE: passwordFile,
  };
}

async function startRedis(
  redis: RedisMysqlStore["redis"],
  folder: string,
  ledger: RunLedger,
  servers: Map<string, PrivateServer>,
): Promise<NodeJS.ProcessEnv> {
  if ((process.env["BELFRY_REDIS_URL"] ?? "") !== "") return {};
  if (redis !== "private") {
    return {
      BELFRY_REDIS_URL: redis.url,
      ...given("BELFRY_REDIS_PASSWORD_FILE", redis.passwordFile),
      ...given("BELFRY_REDIS_CA_FILE", redis.caFile),
      ...given("BELFRY_REDIS_CLUSTER", redis.cluster),
    };
  }
  const passwordFile = join(folder, "password");
  const secrets = join(folder, "redis.conf");
  await writePrivately(secrets, `requirepass ${await ensurePassword(passwordFile)}\n`);
  const plan = planRedis(await findProgram("ensure-redis.mjs", true), [], secrets);
  const server = await PrivateServer.start(plan, { folder, ledger });
  servers.set(plan.name, server);
  return {
    BELFRY_REDIS_URL: `redis://127.0.0.1:${server.port}`,
    BELFRY_REDIS_PASSWORD_FILE: passwordFile,
  };
}

/**
 * For each start, before anybody is let in: MariaDB's first tables have a root without a
 * password, for whoever is on the machine, and so has the data of earlier releases.
 */
function lockRoot(password: string): string {
  return `${[
    "DELETE FROM mysql.global_priv WHERE User = '' OR (User = 'root' AND Host <> 'localhost')",
    "FLUSH PRIVILEGES",
    `ALTER USER root@localhost IDENTIFIED BY '${password}'`,
  ].join(";\n")};\n`;
}

/** Made once: the server's data knows it. In hexadecimal, so that SQL needs no escape. */
async function ensurePassword(file: string): Promise<string> {
  try {
    return (await readFile(file, "utf8")).trim();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
  }
  const password = randomBytes(24).toString("hex");
  await writePrivately(file, password);
  return password;
}

function given(name: string, value: string | boolean | undefined): NodeJS.ProcessEnv {
  return value === undefined ? {} : { [name]: String(value) };
}
