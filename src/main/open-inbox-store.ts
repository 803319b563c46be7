/** The inbox store that the settings name, ready to be opened by groups. */
import { readFileSync } from "node:fs";
import { isIP } from "node:net";
import type { Clock } from "../base/clock.js";
import { LmdbInbox } from "../drivers/lmdb-inbox.js";
import type { MysqlPlace } from "../drivers/mysql-connection.js";
import { markMysqlRestored } from "../drivers/mysql-restored.js";
import { type Migrated, migrateMysql } from "../drivers/mysql-schema.js";
import type { RedisPlace } from "../drivers/redis-client.js";
import { RedisMysqlInbox } from "../drivers/redis-mysql-inbox.js";
import type { InboxStore, RestoreMark } from "../ports/inbox-store.js";
import type { Log } from "../ports/log.js";
import { BadSettings, readSecretFile, type Settings, type StoreSettings } from "./settings.js";

export interface OpenStore {
  readonly store: InboxStore;
  /** When no group is open any more. */
  close(): Promise<void>;
}

export interface StoreOwner {
  readonly nodeId: string;
  /** Asked anew at each opening: a node that rejoins has another one. */
  readonly incarnation: string;
  readonly clock: Clock;
  readonly log: Log;
}

/**
 * Throws BadSettings; Fault("STORE_UNAVAILABLE") when MySQL does not answer, and
 * Fault("STORE_NEWER_SCHEMA") when its tables are a later release's.
 */
export async function openInboxStore(settings: Settings, owner: StoreOwner): Promise<OpenStore> {
  if (settings.store === "lmdb") {
    const { nodeId, clock } = owner;
    const dataFolder = settings.dataFolder ?? missing("dataFolder");
    const store = new LmdbInbox({
      dataFolder,
      nodeId,
      get incarnation() {
        return owner.incarnation;
      },
      clock,
    });
    return { store, close: async () => undefined };
  }
  const { log } = owner;
  const place = mysqlPlace(settings);
  const { from, to } = await migrateMysql(place);
  if (from !== to) log.info("store migrated", { from, to });
  const store = new RedisMysqlInbox({
    place,
    redis: redisPlace(settings),
    onProblem: (problem) => log.warn("redis", { problem }),
  });
  if (!(await store.flushesCommits())) {
    log.warn("MySQL answers commits before they are on disk: a loss of power there loses some", {
      wanted: "innodb_flush_log_at_trx_commit=1",
    });
  }
  return { store, close: () => store.close() };
}

/** What a start does to the tables, and no more. Throws as `openInboxStore` does. */
export async function migrateStore(settings: StoreSettings): Promise<Migrated> {
  return migrateMysql(mysqlPlace(settings));
}

/** Tells tables into which a dump was loaded that they are a restored copy. */
export async function markMysql(settings: StoreSettings, mark: RestoreMark): Promise<void> {
  const place = mysqlPlace(settings);
  // A dump of an earlier release has not got all of them.
  await migrateMysql(place);
  await markMysqlRestored(place, mark);
}

function mysqlPlace(settings: StoreSettings): MysqlPlace {
  const { url, host, port, user } = readUrl("mysqlUrl", settings.mysqlUrl, ["mysql:"], 3306);
  const database = decodeURIComponent(url.pathname.slice(1));
  if (database === "" || user === undefined) {
    throw new BadSettings("mysqlUrl (BELFRY_MYSQL_URL): is mysql://user@host:port/database");
  }
  const password = readSecretFile(settings.mysqlPasswordFile);
  const tls = tlsOf(settings.mysqlTls, settings.mysqlCaFile, host);
  return { ...{ host, port, user, database }, ...given({ password, tls }) };
}

function redisPlace(settings: StoreSettings): RedisPlace {
  const schemes = ["redis:", "rediss:"];
  const { url, host, port, user } = readUrl("redisUrl", settings.redisUrl, schemes, 6379);
  const password = readSecretFile(settings.redisPasswordFile);
  const tls = tlsOf(url.protocol === "rediss:", settings.redisCaFile, host);
  const isCluster = settings.redisCluster;
  return { ...{ host, port, isCluster }, ...given({ user, password, tls }) };
}

/** Passwords come by file: a URL stands in process lists and logs. */
function readUrl(
  field: string,
  text: string | undefined,
  schemes: readonly string[],
  portDefault: number,
) {
  if (text === undefined) return missing(field);
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || !schemes.includes(url.protocol) || url.hostname === "") {
    throw new BadSettings(`${field}: is ${schemes[0]}//user@host:port`);
  }
  if (url.password !== "") throw new BadSettings(`${field}: the password belongs in a file`);
  const user = url.username === "" ? undefined : decodeURIComponent(url.username);
  const host = url.hostname.replace(/^\[(.*)\]$/, "$1");
  return { url, host, user, port: url.port === "" ? portDefault : Number(url.port) };
}

function tlsOf(isOn: boolean, caFile: string | undefined, servername: string) {
  if (!isOn) return undefined;
  if (isIP(servername) !== 0) {
    throw new BadSettings(`TLS to ${servername}: give the host's name, which its certificate has`);
  }
  return { servername, ...given({ ca: readCertificate(caFile) }) };
}

function readCertificate(file: string | undefined): string | undefined {
  if (file === undefined) return undefined;
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    throw new BadSettings(`a certificate's file is not readable: ${(error as Error).message}`);
  }
}

type Given<Fields> = { [Name in keyof Fields]?: Exclude<Fields[Name], undefined> };

function given<Fields extends object>(fields: Fields): Given<Fields> {
  const present = Object.entries(fields).filter(([, value]) => value !== undefined);
  return Object.fromEntries(present) as Given<Fields>;
}

function missing(field: string): never {
  throw new BadSettings(`${field}: is required by the store that is set`);
}
