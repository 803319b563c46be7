/**
 * `make up` and `make down`: a topology in the background, in a folder of its own. What
 * was stored is there after down and up, and nothing is left of what was started.
 */
import assert from "node:assert/strict";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import {
  identify,
  isStillRunning,
  type ProcessIdentity,
} from "../../src/main/setup/process-identity.js";
import { mariadbPassword, mariadbUser, startMariadb } from "../support/mariadb-server.js";
import { makeDatabase, runSql } from "../support/mysql-database.js";
import { startNats } from "../support/nats-server.js";
import { startRedis } from "../support/redis-server.js";
import { type Program, Scratch } from "../support/scratch.js";
import { until } from "../support/until.js";

const program = (name: string) => fileURLToPath(new URL(`../../src/main/${name}`, import.meta.url));
const topology = (name: string) =>
  fileURLToPath(new URL(`../../../topology/${name}.yaml`, import.meta.url));
/** A first MariaDB makes its tables before. */
const startMsMax = 120_000;
const patience = ["--timeout", "60"];

for (const store of ["lmdb", "redis-mysql"]) {
  test(`keeps what was pushed over down and up, on ${store}`, async () => {
    await using scratch = await createHome();
    const up = await call(scratch, "up.js", topology(store));
    assert.equal(up.end, 0, up.told());
    assert.match(up.out, /runs in the background/);
    const started = processesOf(scratch);
    assert.equal(started.filter(isStillRunning).length, store === "lmdb" ? 4 : 6);
    const push = await call(scratch, "belfry.js", ...patience, "push", "demo", "alice", "1");
    assert.equal(push.end, 0, push.told());

    const again = await call(scratch, "up.js", topology(store));
    assert.equal(again.end, 0, again.told());
    assert.match(again.out, /runs already/);

    const down = await call(scratch, "down.js");
    assert.equal(down.end, 0, down.told());
    assert.deepEqual(started.filter(isStillRunning), []);
    assert.ok(!existsSync(join(scratch.folder, "running.json")));
    assert.ok(!existsSync(join(scratch.folder, "run.json")));

    const second = await call(scratch, "up.js", topology(store));
    assert.equal(second.end, 0, second.told());
    await until("her inbox still holds it", async () => {
      const user = await call(scratch, "belfry.js", ...patience, "user", "demo", "alice", "--json");
      return user.end === 0 && JSON.parse(user.out).inbox?.messages === 1;
    });
  });
}

test("takes the servers that the file gives, and starts none of its own", async () => {
  await using mariadb = await startMariadb();
  await using redis = await startRedis();
  await using nats = await startNats({ apps: ["demo"] });
  await using scratch = await createHome();
  const { database } = await makeDatabase(mariadb.port);
  const secret = (name: string, text: string) => {
    const file = join(scratch.folder, name);
    writeFileSync(file, text, { mode: 0o600 });
    return file;
  };
  const file = join(scratch.folder, "given.yaml");
  const { pass, user } = nats.credentials.node;
  writeFileSync(
    file,
    `idc: dc7
nodes: [{ name: only }]
nats: { url: "${nats.url}", user: ${user}, passwordFile: ${secret("nats.password", pass)} }
store:
  kind: redis-mysql
  mysql:
    url: mysql://${mariadbUser}@127.0.0.1:${mariadb.port}/${database}
    passwordFile: ${secret("mysql.password", mariadbPassword)}
  redis: { url: "redis://127.0.0.1:${redis.port}" }
demo: true
`,
  );
  const up = await call(scratch, "up.js", file);
  assert.equal(up.end, 0, up.told());
  assert.deepEqual(
    notedOf(scratch).map(({ what }) => what),
    ["node only"],
  );
  const { operator } = nats.credentials;
  const asOperator = [
    ...["--user", operator.user],
    ...["--password-file", secret("operator.password", operator.pass)],
  ];
  const push = await call(
    scratch,
    "belfry.js",
    ...patience,
    ...asOperator,
    "push",
    "demo",
    "alice",
    "1",
  );
  assert.equal(push.end, 0, push.told());
  const [rows] = await runSql(
    {
      host: "127.0.0.1",
      port: mariadb.port,
      user: mariadbUser,
      password: mariadbPassword,
      database,
    },
    "SELECT COUNT(*) FROM entries",
  );
  assert.equal(Number(rows?.[0]?.[0]), 1);
  assert.equal((await call(scratch, "down.js")).end, 0);
  assert.ok(redis.pid > 0 && identify(redis.pid) !== undefined, "what was given goes on");
});

test("down ends everything after kill -9 of the process behind it", async () => {
  await using scratch = await createHome();
  const up = await call(scratch, "up.js", topology("lmdb"));
  assert.equal(up.end, 0, up.told());
  const [keeper, ...others] = processesOf(scratch);
  assert.ok(keeper !== undefined && others.length === 3);
  process.kill(keeper.pid, "SIGKILL");
  const down = await call(scratch, "down.js");
  assert.equal(down.end, 0, down.told());
  assert.deepEqual(others.filter(isStillRunning), []);
  const nothing = await call(scratch, "down.js");
  assert.match(nothing.out, /Nothing is up/);
});

test("a node that is killed comes back; another topology is refused meanwhile", async () => {
  await using scratch = await createHome();
  const up = await call(scratch, "up.js", topology("lmdb"));
  assert.equal(up.end, 0, up.told());
  const node = notedOf(scratch).find(({ what }) => what === "node a");
  assert.ok(node !== undefined);
  process.kill(node.pid, "SIGKILL");
  await until("node a is another process", () =>
    notedOf(scratch).some(({ what, pid }) => what === "node a" && pid !== node.pid),
  );
  const other = await call(scratch, "up.js", topology("redis-mysql"));
  assert.equal(other.end, 1);
  assert.match(other.err, /lmdb\.yaml runs from this folder already .*make down stops it/);
});

for (const [what, text, says] of [
  ["an unknown field", "nodes: [{ name: a }]\nstore: { kind: lmdb }\nfoo: 1\n", /"foo"/],
  ["two nodes of one name", "nodes: [{name: a}, {name: a}]\nstore: {kind: lmdb}\n", /name a/],
  ["no store", "nodes: [{ name: a }]\n", /store is missing/],
  [
    "the embedded store on two machines",
    "nodes: [{ name: a, machine: x }, { name: b, machine: y }]\nstore: { kind: lmdb }\n",
    /of one machine/,
  ],
] as const) {
  test(`ends with 2 and one sentence for ${what}`, async () => {
    await using scratch = await createHome();
    const file = join(scratch.folder, "bad.yaml");
    writeFileSync(file, text);
    const up = await call(scratch, "up.js", file);
    assert.equal(up.end, 2, up.told());
    assert.match(up.err, says);
    assert.doesNotMatch(up.err, /\n\s+at /);
    assert.ok(!existsSync(join(scratch.folder, "run.json")), "nothing was started");
  });
}

/** What is still up at the end of the test is stopped with it. */
async function createHome(): Promise<Scratch> {
  const scratch = await Scratch.create("up");
  scratch.defer(async () => void (await call(scratch, "down.js")));
  return scratch;
}

async function call(scratch: Scratch, name: string, ...args: string[]): Promise<Program> {
  // Under `make test` the variables of make, and of who started it, would be this system's too.
  const clean = { NATS_URL: undefined, MAKELEVEL: undefined, BELFRY_LOG_LEVEL: undefined };
  const called = scratch.start(process.execPath, ["--enable-source-maps", program(name), ...args], {
    env: { ...clean, BELFRY_HOME: scratch.folder },
  });
  await called.ends(startMsMax);
  return called;
}

type Noted = ProcessIdentity & { readonly what: string };

function notedOf(scratch: Scratch): readonly Noted[] {
  return readLedger(scratch).processes;
}

/** The keeper first. */
function processesOf(scratch: Scratch): readonly ProcessIdentity[] {
  const { owner, processes } = readLedger(scratch);
  return [owner, ...processes];
}

function readLedger(scratch: Scratch): { owner: ProcessIdentity; processes: readonly Noted[] } {
  return JSON.parse(readFileSync(join(scratch.folder, "run.json"), "utf8"));
}
