/**
 * The command line over a real NATS server, as the operator that nats.conf lets in:
 * what it may read and write there, and how it finds its server.
 */
import { deepEqual, equal, match, ok, rejects } from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { leaderKey, tableKey } from "../../actors/membership.js";
import { Fault } from "../../src/base/result.js";
import type { Fleet } from "../../src/cli/fleet.js";
import { JwtTokens } from "../../src/drivers/jwt-tokens.js";
import { NatsBus } from "../../src/drivers/nats-bus.js";
import { connectNats, type NatsConnection } from "../../src/drivers/nats-connection.js";
import { openKeyValue } from "../../src/drivers/nats-key-value.js";
import { openNatsFleet } from "../../src/main/nats-fleet.js";
import { findNatsServer } from "../../src/main/setup/private-nats.js";
import { type AppRecord, encodeAppRecord } from "../../src/protocol/app-record.js";
import type { Shard } from "../../src/protocol/shards.js";
import { encodeLeader } from "../../topology/election.js";
import { encodeNodeRecord, nodeKey } from "../../topology/node-record.js";
import { PlacementTable } from "../../topology/placement-table.js";
import { type NatsFixture, startNats } from "../support/nats-server.js";
import { demo, nodeA, nodeB } from "./fake-fleet.js";

/** This file runs as dist/test/cli/nats-fleet.test.js. */
const program = fileURLToPath(new URL("../../src/main/belfry.js", import.meta.url));

let nats: NatsFixture;
let node: NatsConnection;
let folder: string;
let operatorFlags: { natsUrl: string; user: string; passwordFile: string; timeoutMs: number };
/** As `make run` leaves it. */
let home: { BELFRY_HOME: string };

before(async () => {
  nats = await startNats();
  folder = mkdtempSync(join(tmpdir(), "belfry-test-cli-"));
  const { user, pass, inboxPrefix } = nats.credentials.node;
  node = await connectNats({ url: nats.url, name: "node", user, password: pass, inboxPrefix });
  await fillBuckets(node);
  answerAs(node);
  const operator = nats.credentials.operator;
  writeFileSync(join(folder, "password"), `${operator.pass}\n`);
  operatorFlags = {
    natsUrl: nats.url,
    user: operator.user,
    passwordFile: join(folder, "password"),
    timeoutMs: 20_000,
  };
  writeFileSync(
    join(folder, "running.json"),
    JSON.stringify({ version: 1, natsUrl: nats.url, operator, nodes: [] }),
  );
  home = { BELFRY_HOME: folder };
});

after(async () => {
  await node?.close();
  await nats?.stop();
  rmSync(folder, { recursive: true, force: true });
});

async function fillBuckets(connection: NatsConnection): Promise<void> {
  const placement = await openKeyValue(connection, "placement");
  const shards = Array.from({ length: 512 }, (_, shard) => shard as Shard);
  await placement.create(tableKey, PlacementTable.empty().withOwner(shards, nodeA).encode());
  const { nodeId, incarnation } = nodeA;
  const leader = { nodeId, incarnation, epoch: 7, leaseMs: 3_000 };
  await placement.create(leaderKey, encodeLeader(leader));
  for (const each of [nodeB, nodeA]) {
    await placement.create(nodeKey(each.nodeId), encodeNodeRecord({ ...each, processStart: "" }));
  }
  const apps = await openKeyValue(connection, "apps");
  await apps.create("demo", encodeAppRecord(demo));
}

/** Node a answers its desk with what it was asked, and every push; node b is silent. */
function answerAs(connection: NatsConnection): void {
  const bus = new NatsBus(connection);
  const text = (value: unknown) => new TextEncoder().encode(JSON.stringify(value));
  bus.subscribe(`node.${nodeA.nodeId}.${nodeA.incarnation}.operator`, ({ payload, reply }) => {
    const value: unknown = JSON.parse(new TextDecoder().decode(payload));
    if (reply !== undefined) bus.publish(reply, text({ ok: true, value }));
  });
  bus.subscribe("shard.*.push.demo.>", ({ subject, reply }) => {
    if (reply !== undefined) bus.publish(reply, text({ ok: true, id: subject, seq: 1 }));
  });
}

async function openFleet(settings: Parameters<typeof openNatsFleet>[0], environment = {}) {
  const opened = await openNatsFleet(settings, { BELFRY_HOME: "/nowhere", ...environment });
  ok(opened.ok, opened.ok ? "" : opened.message);
  return opened.value;
}

async function withFleet(work: (fleet: Fleet) => Promise<void>): Promise<void> {
  const fleet = await openFleet(operatorFlags);
  try {
    await work(fleet);
  } finally {
    await fleet.close();
  }
}

describe("an operator", () => {
  test("reads the placement", () =>
    withFleet(async (fleet) => {
      const { nodes, leader, shards } = await fleet.placement();
      deepEqual(
        nodes.map((each) => each.nodeId),
        ["dc1-a", "dc1-b"],
      );
      deepEqual(nodes[0], { ...nodeA, processStart: "" });
      equal(leader?.epoch, 7);
      equal(shards.length, 4096);
      const owner = { nodeId: "dc1-a", incarnation: "inca" };
      deepEqual(shards[511], { shard: 511, state: "serving", epoch: 1, owner });
      deepEqual(shards[512], { shard: 512, state: "unassigned", epoch: 0, owner: undefined });
    }));

  test("asks a node, and hears at once when nobody is there", () =>
    withFleet(async (fleet) => {
      deepEqual(await fleet.ask(nodeA, { kind: "status" }), {
        ok: true,
        value: { kind: "status" },
      });
      await rejects(
        fleet.ask(nodeB, { kind: "status" }),
        (error) => error instanceof Fault && error.code === "NO_RESPONDERS",
      );
    }));

  test("pushes to any user of any app", () =>
    withFleet(async (fleet) => {
      const answer = await fleet.push("demo", "a.b", new TextEncoder().encode("{}"));
      match(answer.ok ? answer.id : answer.code, /^shard\.\d+\.push\.demo\.a%2Eb$/);
      await rejects(
        fleet.push("nobody", "alice", new Uint8Array(0)),
        (error) => error instanceof Fault && error.code === "NO_RESPONDERS",
      );
    }));

  test("reads and writes the registry", () =>
    withFleet(async (fleet) => {
      const apps = await fleet.apps();
      const record: AppRecord = { ...demo, app: "made" };
      const made = await apps.create("made", encodeAppRecord(record));
      ok(made.ok);
      equal((await apps.create("made", encodeAppRecord(record))).ok, false);
      ok((await apps.update("made", encodeAppRecord(record), made.value)).ok);
      equal((await apps.update("made", encodeAppRecord(record), made.value)).ok, false);
      deepEqual((await apps.list("")).map(({ key }) => key).sort(), ["demo", "made"]);
      equal(await apps.get("absent"), undefined);
    }));

  test("is told what a foreign server needs for an app, in a form that it takes", () =>
    withFleet(async (fleet) => {
      const grant = await fleet.addNatsUser("shop");
      ok(grant.state === "yours-to-add");
      const [, account, uplinks] = grant.block.split(/^#.*\n/m);
      const foreign = join(folder, "foreign");
      mkdirSync(foreign);
      copyFileSync("nats.conf", join(foreign, "nats.conf"));
      const config = join(foreign, "nats.conf");
      writeFileSync(join(foreign, "apps.conf"), account ?? "");
      writeFileSync(join(foreign, "users.conf"), `imports: [\n${uplinks}\n]\n`);
      const said = await new Promise<string>((resolve) => {
        const args = ["-t", "-c", config];
        findNatsServer().then((server) =>
          execFile(server, args, (_, out, err) => resolve(out + err)),
        );
      });
      match(said, /is valid/);
    }));
});

describe("the server", () => {
  test("is the one of make run, whose operator is taken for it", async () => {
    for (const settings of [{}, { natsUrl: nats.url }]) {
      const fleet = await openFleet({ ...settings, timeoutMs: 20_000 }, home);
      equal(fleet.natsUrl, nats.url);
      equal((await fleet.placement()).nodes.length, 2);
      await fleet.close();
    }
  });

  test("of make run makes a registered app's user itself, which is waited for", async () => {
    // The server's folder is where a run of this home would have it.
    symlinkSync(nats.folder, join(folder, "nats"));
    const fleet = await openFleet({ timeoutMs: 30_000 }, home);
    const granting = fleet.addNatsUser("late");
    await nats.addApps(["late"]);
    const grant = await granting;
    ok(grant.state === "added", JSON.stringify(grant));
    equal(grant.user, "app-late");
    equal(grant.password, nats.credentials.app("late").pass);
    equal(grant.inboxPrefix, "_INBOX_late");
    await fleet.close();
    // Its password is made, but the server has not read it yet.
    const file = join(nats.folder, "secrets.json");
    const secrets = JSON.parse(readFileSync(file, "utf8"));
    const ghost = { ...secrets, apps: { ...secrets.apps, ghost: "p" } };
    writeFileSync(file, JSON.stringify(ghost));
    const hasty = await openFleet({ timeoutMs: 3_000 }, home);
    for (const app of ["never", "ghost"]) {
      equal((await hasty.addNatsUser(app)).state, "failed", app);
    }
    await hasty.close();
  });

  test("comes from the environment before it comes from make run", async () => {
    const environment = {
      ...home,
      NATS_URL: nats.url,
      BELFRY_NATS_USER: operatorFlags.user,
      BELFRY_NATS_PASSWORD_FILE: operatorFlags.passwordFile,
    };
    const fleet = await openFleet({ timeoutMs: 20_000 }, environment);
    equal((await fleet.placement()).nodes.length, 2);
    await fleet.close();
    const wrong = openNatsFleet({ timeoutMs: 2_000 }, { ...home, NATS_URL: "nats://127.0.0.1:1" });
    await rejects(wrong, isNotRunning);
  });

  test("that does not let somebody in is a refusal", async () => {
    writeFileSync(join(folder, "wrong"), "wrong");
    const wrong = { ...operatorFlags, passwordFile: join(folder, "wrong") };
    const nobody = { natsUrl: nats.url, timeoutMs: 20_000 };
    for (const settings of [wrong, nobody]) {
      const opened = await openNatsFleet(settings, { BELFRY_HOME: "/nowhere" });
      deepEqual([opened.ok, !opened.ok && opened.code], [false, "UNAUTHORIZED"]);
    }
  });

  test("that is not there is told at once, however patient one is", async () => {
    const timeoutMs = 120_000;
    const startMs = performance.now();
    for (const natsUrl of ["nats://127.0.0.1:1", "127.0.0.1:1,[::1]:1"]) {
      await rejects(openNatsFleet({ natsUrl, timeoutMs }, {}), isNotRunning);
    }
    await rejects(openNatsFleet({ timeoutMs }, { BELFRY_HOME: "/nowhere" }), isNotRunning);
    ok(performance.now() - startMs < timeoutMs / 4);
  });

  test("needs a password file that can be read", async () => {
    const opened = await openNatsFleet({ ...operatorFlags, passwordFile: "/nowhere" }, {});
    deepEqual([opened.ok, !opened.ok && opened.code], [false, "USAGE"]);
  });
});

function isNotRunning(error: unknown): boolean {
  return error instanceof Fault && error.code === "NOT_RUNNING";
}

describe("the program", () => {
  const env = () => ({ ...process.env, ...home, NATS_URL: "" });
  const run = (...args: string[]) =>
    new Promise<{ code: number | null; out: string; err: string }>((resolve) => {
      const child = execFile(process.execPath, [program, ...args], { env: env() }, (_, out, err) =>
        resolve({ code: child.exitCode, out, err }),
      );
    });

  test("prints one JSON document and ends by itself", async () => {
    const { code, out, err } = await run("status", "--json");
    equal(code, 0, err);
    const { nodes } = JSON.parse(out);
    deepEqual(
      nodes.map(({ nodeId, state }: { nodeId: string; state: string }) => [nodeId, state]),
      [
        ["dc1-a", "up"],
        ["dc1-b", "silent"],
      ],
    );
  });

  test("gives its exit codes", async () => {
    equal((await run("push", "demo", "alice", "hi")).code, 0);
    equal((await run("app", "create", "demo")).code, 1);
    equal((await run("push", "demo")).code, 2);
    equal((await run("push", "nobody", "alice", "hi")).code, 3);
  });

  test("makes a token that its own verifier takes", async () => {
    const { out } = await run("token", "demo", "alice");
    const verdict = await new JwtTokens({ find: () => demo }).verify(out.trim());
    ok(verdict.ok && verdict.value.sub === "alice");
  });

  test("ends quietly when its reader has left", async () => {
    const child = spawn(process.execPath, [program, "topology"], { env: env() });
    child.stdout.destroy();
    let err = "";
    child.stderr.on("data", (bytes) => {
      err += bytes;
    });
    const code = await new Promise((resolve) => child.once("exit", resolve));
    deepEqual([code, err], [0, ""]);
  });
});
