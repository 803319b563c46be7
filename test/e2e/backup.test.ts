/**
 * Backup and restore (O14): what was in the inboxes when the backup was made is delivered
 * after the restore, and no client's position of the lost timeline acks what it never saw.
 */
import assert from "node:assert/strict";
import { rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import type { Device } from "../../src/client/device-client.js";
import { mariadbPassword, mariadbUser, startMariadb } from "../support/mariadb-server.js";
import { makeDatabase } from "../support/mysql-database.js";
import { app, memoryStorage, type Platform, startPlatform } from "../support/platform.js";
import { startRedis } from "../support/redis-server.js";
import { Scratch } from "../support/scratch.js";
import { until } from "../support/until.js";

const belfry = fileURLToPath(new URL("../../src/main/belfry.js", import.meta.url));

test("a restored copy delivers what was unacked, and acks nothing that nobody saw", async () => {
  await using scratch = await Scratch.create("restore");
  await using platform = await startPlatform();
  const call = await commandLine(scratch, platform);
  const backup = join(scratch.folder, "backup");
  const data = join(platform.folder, "data");
  const alice = new Client(platform, "alice", "new");
  const carol = new Client(platform, "carol", "new");

  // Before: alice has 1 to 5 and owes the rest; bob has never been here.
  await alice.connect();
  await push(platform, "alice", 1, 5);
  await alice.receives(1, 5);
  await untilInbox(call, "alice", 0);
  alice.close();
  await push(platform, "alice", 6, 10);
  await push(platform, "bob", 1, 10);
  await call("lane", "create", "vip", "--app", app);
  await call("lane", "set", "vip", "--workers", "64", "--weight", "7");
  await call("lane", "set", "low", "--workers", "0");
  const load = await startLoad(platform, "dave");
  const made = await call("backup", "create", backup);
  const answered = await load.stop();
  assert.equal(made.store, "lmdb");
  assert.equal(made.volumes, 8);
  assert.ok(made.entries >= 15 + answered.before && made.entries <= 15 + answered.after);
  assert.deepEqual(made.buckets, { apps: 1, lanes: 4 });

  // After: alice takes and acks 6 to 20, and carol comes to be; all of it will be lost.
  await alice.connect();
  await push(platform, "alice", 11, 20);
  await alice.receives(6, 20);
  await carol.connect();
  await push(platform, "carol", 1, 5);
  await carol.receives(1, 5);
  await untilInbox(call, "alice", 0);
  await untilInbox(call, "carol", 0);
  alice.close();
  carol.close();

  // Everything dies and is gone.
  const held = await call.ends("backup", "restore", backup, "--data", data);
  assert.match(held.err, /is held by process/);
  for (const name of [...platform.nodes.keys()]) await platform.killNode(name, "SIGKILL");
  const inTheWay = await call.ends("backup", "restore", backup, "--data", data);
  assert.match(inTheWay.err, /holds data; --overwrite/);
  platform.nats.kill("SIGKILL");
  await rm(data, { recursive: true });
  await rm(join(platform.folder, "nats", "data"), { recursive: true });
  await platform.nats.restart();
  await until(
    "connections are back",
    () => platform.link.isConnected && platform.operator.isConnected,
  );
  assert.equal((await call("backup", "restore", backup, "--data", data)).restored, 8);
  for (const name of ["a", "b"]) await platform.startNode(name);
  // The app, and the lanes: high and normal are as they are made, so that they say the same.
  assert.equal((await call("backup", "restore", backup, "--kv")).restored, 5);
  await platform.untilPlaced();
  assert.deepEqual(settingsOf(await call("lane", "show", "vip")), [app, 7, 64]);
  assert.deepEqual(settingsOf(await call("lane", "show", "low")), [null, 1, 0]);
  // Set since then: kept, unless the backup is to go over it.
  await call("lane", "set", "vip", "--workers", "65");
  const again = await call("backup", "restore", backup, "--kv");
  assert.deepEqual([again.restored, again.kept], [2, 3]);
  assert.deepEqual(settingsOf(await call("lane", "show", "vip")), [app, 7, 65]);
  await call("backup", "restore", backup, "--kv", "--overwrite");
  assert.deepEqual(settingsOf(await call("lane", "show", "vip")), [app, 7, 64]);

  // As many as were lost, and more: the lost positions would cover the first of them.
  await push(platform, "alice", 21, 40);
  await push(platform, "carol", 101, 110);
  alice.forgetReceived();
  await alice.connect();
  await alice.receives(21, 40);
  carol.forgetReceived();
  await carol.connect();
  await carol.receives(101, 110);
  const bob = new Client(platform, "bob", "all");
  await bob.connect();
  await bob.receives(1, 10);
  // 6 to 10 as well: shown before, told apart by MsgID, acked now.
  for (const uid of ["alice", "bob", "carol"]) await untilInbox(call, uid, 0);
  await push(platform, "alice", 41, 42);
  await alice.receives(41, 42);
  // Taken under load: what dave has is what was answered up to some moment, without a gap.
  const dave = new Client(platform, "dave", "all");
  await dave.connect();
  await untilInbox(call, "dave", 0);
  await dave.receives(1, made.entries - 15);
  assert.equal(dave.count, made.entries - 15);
});

function settingsOf({ app: owner, weight, workers }: Record<string, unknown>): unknown[] {
  return [owner, weight, workers];
}

/** Pushes one after the other until it is stopped; how many were answered at both ends. */
async function startLoad(platform: Platform, uid: string) {
  let count = 0;
  let isOver = false;
  const run = (async () => {
    while (!isOver) {
      await push(platform, uid, count + 1, count + 1);
      count++;
    }
  })();
  await until("some are answered", () => count >= 5);
  const before = count;
  const stop = async () => {
    isOver = true;
    await run;
    return { before, after: count };
  };
  return { stop };
}

test("with redis-mysql the registry is backed up, and the dump's tables are marked", async () => {
  await using mariadb = await startMariadb();
  await using redis = await startRedis();
  await using scratch = await Scratch.create("restore");
  const { database } = await makeDatabase(mariadb.port);
  const passwordFile = join(mariadb.folder, "password");
  await writeFile(passwordFile, mariadbPassword, { mode: 0o600 });
  const store = {
    BELFRY_STORE: "redis-mysql",
    BELFRY_MYSQL_URL: `mysql://${mariadbUser}@127.0.0.1:${mariadb.port}/${database}`,
    BELFRY_MYSQL_PASSWORD_FILE: passwordFile,
    BELFRY_REDIS_URL: `redis://127.0.0.1:${redis.port}`,
    BELFRY_DATA_FOLDER: "",
  };
  await using platform = await startPlatform({ nodes: ["a"], environment: store });
  const call = await commandLine(scratch, platform, store);
  const alice = new Client(platform, "alice", "new");
  await alice.connect();
  await push(platform, "alice", 1, 5);
  await alice.receives(1, 5);
  await untilInbox(call, "alice", 0);
  const before = await call("user", app, "alice");
  alice.close();
  const backup = join(scratch.folder, "backup");
  const made = await call("backup", "create", backup);
  assert.deepEqual([made.store, made.volumes, made.buckets.apps], ["redis-mysql", 0, 1]);
  const wrong = await call.ends("backup", "restore", backup, "--data", scratch.folder);
  assert.equal(wrong.end, 2, wrong.told());
  await platform.killNode("a");
  await call("backup", "restore", backup, "--mysql");
  await platform.startNode("a");
  await platform.untilPlaced();
  await push(platform, "alice", 6, 15);
  await alice.connect();
  await alice.receives(6, 15);
  const after = await call("user", app, "alice");
  assert.ok(after.generation > before.generation, "her session goes on under a new generation");
});

async function push(platform: Platform, uid: string, from: number, to: number): Promise<void> {
  for (let number = from; number <= to; number++) {
    const answer = await platform.push(uid, { body: number });
    assert.equal(answer.ok, true, JSON.stringify(answer));
  }
}

/** One installation: what it remembers outlives its connections. */
class Client {
  private readonly storage = memoryStorage();
  private received: number[] = [];
  private device: Device | undefined;

  constructor(
    private readonly platform: Platform,
    private readonly uid: string,
    private readonly start: "new" | "all",
  ) {}

  async connect(): Promise<void> {
    const device = this.platform.device(this.uid, {
      storage: this.storage,
      start: this.start,
      onMessage: ({ body }) => void this.received.push(body as number),
    });
    this.device = device;
    await until(`${this.uid} is attached`, () => device.position !== undefined);
  }

  close(): void {
    this.device?.close();
  }

  get count(): number {
    return this.received.length;
  }

  forgetReceived(): void {
    this.received = [];
  }

  /** All of them, in order, each once. */
  async receives(from: number, to: number): Promise<void> {
    const wanted = Array.from({ length: to - from + 1 }, (_, at) => from + at);
    await until(`${this.uid} has ${from} to ${to}`, () => this.received.includes(to));
    const received = this.received.filter((number) => number >= from && number <= to);
    assert.deepEqual(received, wanted);
  }
}

type Call = Awaited<ReturnType<typeof commandLine>>;

async function untilInbox(call: Call, uid: string, messages: number): Promise<void> {
  await until(`the inbox of ${uid} holds ${messages}`, async () => {
    const shown = await call.ends("user", app, uid, "--json");
    return shown.end === 0 && JSON.parse(shown.out).inbox?.messages === messages;
  });
}

/** `belfry` as the platform's operator. */
async function commandLine(
  scratch: Scratch,
  platform: Platform,
  store: Readonly<Record<string, string>> = {},
) {
  const { user, pass } = platform.nats.credentials.operator;
  const passwordFile = join(scratch.folder, "operator.password");
  await writeFile(passwordFile, pass, { mode: 0o600 });
  const env = {
    ...store,
    BELFRY_HOME: scratch.folder,
    NATS_URL: platform.nats.url,
    BELFRY_NATS_USER: user,
    BELFRY_NATS_PASSWORD_FILE: passwordFile,
  };
  const ends = async (...args: string[]) => {
    const program = scratch.start(process.execPath, [belfry, ...args, "--timeout", "60"], { env });
    await program.ends(120_000);
    return program;
  };
  const call = async (...args: string[]) => {
    const { end, out, err } = await ends(...args, "--json");
    assert.equal(end, 0, `${args.join(" ")}: ${out}${err}`);
    return JSON.parse(out);
  };
  return Object.assign(call, { ends });
}
