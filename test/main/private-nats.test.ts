/**
 * What a run leaves behind: nothing after an orderly end, nothing that blocks
 * the next one after kill -9, and never a hand on a process of somebody else.
 */
import { deepEqual, equal, match, ok, rejects } from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, beforeEach, describe, test } from "node:test";
import { jetstream, jetstreamManager } from "@nats-io/jetstream";
import { connect as connectNats } from "@nats-io/transport-node";
import { PrivateNats } from "../../src/main/setup/private-nats.js";
import { identify, isStillRunning } from "../../src/main/setup/process-identity.js";
import { RunInProgress, RunLedger } from "../../src/main/setup/run-ledger.js";
import { until } from "../support/until.js";

const moduleUrl = (name: string) =>
  new URL(`../../src/main/setup/${name}.js`, import.meta.url).href;

let folder: string;
const started: ChildProcess[] = [];

before(() => {
  folder = mkdtempSync(join(tmpdir(), "belfry-test-run-"));
});

after(() => {
  for (const child of started) child.kill("SIGKILL");
  rmSync(folder, { recursive: true, force: true });
});

/** Runs a module's text in a process of its own and returns the first line that it prints. */
async function runModule(
  source: string,
  env: NodeJS.ProcessEnv = {},
): Promise<{ child: ChildProcess; line: string }> {
  const child = spawn(process.execPath, ["--input-type=module", "-e", source], {
    stdio: ["ignore", "pipe", "inherit"],
    env: { ...process.env, ...env },
  });
  started.push(child);
  const [first] = (await once(child.stdout as NodeJS.ReadableStream, "data")) as [Buffer];
  return { child, line: first.toString().trim() };
}

describe("a private nats-server", () => {
  test("listens on the loopback address only, with its secrets readable by nobody else", async () => {
    const nats = await PrivateNats.start({
      folder: join(folder, "n1"),
      operators: [],
      apps: ["a"],
    });
    match(nats.url, /^nats:\/\/127\.0\.0\.1:\d+$/);
    for (const name of ["users.conf", "apps.conf", "secrets.json"]) {
      equal(statSync(join(folder, "n1", name)).mode & 0o777, 0o600, name);
    }
    const { pid } = nats;
    await nats.stop();
    await nats.stop();
    equal(identify(pid), undefined);
  });

  test("keeps the port it is asked for, and takes another when that one is taken", async () => {
    const first = await PrivateNats.start({ folder: join(folder, "n2"), operators: [], apps: [] });
    await first.stop();
    const options = { folder: join(folder, "n2"), operators: [], apps: [], port: first.port };
    const again = await PrivateNats.start(options);
    equal(again.port, first.port);
    await again.stop();
    const stranger = createServer().listen(first.port, "127.0.0.1");
    await once(stranger, "listening");
    const elsewhere = await PrivateNats.start(options);
    ok(elsewhere.port !== first.port);
    await elsewhere.stop();
    stranger.close();
  });

  test("keeps the streams of before its accounts", async () => {
    const options = { folder: join(folder, "n4"), operators: [], apps: [] };
    const countMade = async () => {
      const nats = await PrivateNats.start(options);
      const client = await connectNats({ servers: nats.url, ...nats.credentials("node") });
      const manager = await jetstreamManager(client);
      await manager.streams.add({ name: "KV_apps", subjects: ["$KV.apps.>"] });
      await jetstream(client).publish("$KV.apps.a", "kept");
      const { messages } = (await manager.streams.info("KV_apps")).state;
      await client.close();
      await nats.stop();
      return messages;
    };
    equal(await countMade(), 1);
    const streams = join(options.folder, "data", "jetstream");
    renameSync(join(streams, "CORE"), join(streams, "$G"));
    equal(await countMade(), 2);
  });

  test("says so when it refuses its users, and not when somebody's password is refused", async () => {
    const nats = await PrivateNats.start({ folder: join(folder, "n5"), operators: [], apps: [] });
    const early = { servers: nats.url, user: "app-late", pass: "unknown" };
    const adding = nats.addUsers({ operators: [], apps: ["late"] });
    await rejects(connectNats(early));
    await adding;
    writeFileSync(join(folder, "n5", "nats.conf"), "port: no number\n");
    await rejects(nats.addUsers({ operators: [], apps: ["never"] }), /refused its users/);
    await nats.stop();
  });

  test("says what is wrong when it cannot start", async () => {
    const broken = join(folder, "n3");
    const nats = await PrivateNats.start({ folder: broken, operators: [], apps: [] });
    await nats.stop();
    writeFileSync(join(broken, "nats.conf"), "port: no number\n");
    await rejects(nats.restart(), /nats-server did not start/);
  });

  test("ends with the process that started it, also when that is killed", async () => {
    const { child, line } = await runModule(`
      import { PrivateNats } from ${JSON.stringify(moduleUrl("private-nats"))};
      const nats = await PrivateNats.start({
        folder: ${JSON.stringify(join(folder, "n4"))}, operators: [], apps: [],
      });
      console.log(nats.pid + " " + nats.port);
      setInterval(() => {}, 1000);
    `);
    const [pid, port] = line.split(" ").map(Number);
    ok(pid !== undefined && port !== undefined);
    const server = identify(pid);
    ok(server !== undefined);
    child.kill("SIGKILL");
    await until("the server is gone", () => !isStillRunning(server));
    const socket = connect({ host: "127.0.0.1", port });
    await rejects(once(socket, "connect"), /ECONNREFUSED/);
  });
});

describe("the ledger of a run", () => {
  let file: string;
  let count = 0;

  beforeEach(() => {
    count++;
    file = join(folder, `ledger-${count}.json`);
  });

  /** A process that claims the ledger, records a sleeping child and stays. */
  function claimant(env: NodeJS.ProcessEnv = {}) {
    return runModule(
      `
      import { spawn } from "node:child_process";
      import { RunLedger } from ${JSON.stringify(moduleUrl("run-ledger"))};
      const ledger = await RunLedger.claim(${JSON.stringify(file)});
      const child = spawn("sleep", ["600"], { detached: true, stdio: "ignore" });
      ledger.record("sleep", child.pid);
      console.log(child.pid);
      setInterval(() => {}, 1000);
    `,
      env,
    );
  }

  test("is refused while its run lives, and that run is left alone", async () => {
    const { child, line } = await claimant();
    await rejects(RunLedger.claim(file), RunInProgress);
    ok(identify(Number(line)) !== undefined);
    child.kill("SIGKILL");
    await once(child, "exit");
    await RunLedger.claim(file);
    equal(identify(Number(line)), undefined);
  });

  test("stops what a killed run left, and nothing when a pid has become another process", async () => {
    const stranger = spawn("sleep", ["600"]);
    started.push(stranger);
    const mine = identify(stranger.pid ?? 0);
    ok(mine !== undefined);
    const other = { pid: mine.pid, startedAt: `${mine.startedAt}0` };
    const content = { version: 1, owner: other, processes: [{ ...other, what: "nats-server" }] };
    writeFileSync(file, JSON.stringify(content));
    const ledger = await RunLedger.claim(file);
    ok(isStillRunning(mine));
    ledger.release();
  });

  test("is taken over from an owner whose make was killed", async () => {
    const { line } = await runModule(`
      import { spawn } from "node:child_process";
      const make = spawn("sh", ["-c", ${JSON.stringify(`"$0" --input-type=module -e "$1" & wait`)},
        process.execPath, ${JSON.stringify(claimSource())}],
        { stdio: ["ignore", "pipe", "inherit"], env: { ...process.env, MAKELEVEL: "1" } });
      make.stdout.once("data", (bytes) => {
        make.kill("SIGKILL");
        make.once("exit", () => console.log(String(bytes).trim()));
      });
    `);
    const orphan = identify(Number(line));
    ok(orphan !== undefined);
    const ledger = await RunLedger.claim(file);
    ok(!isStillRunning(orphan));
    ledger.release();
  });

  function claimSource(): string {
    return `
      import { RunLedger } from ${JSON.stringify(moduleUrl("run-ledger"))};
      await RunLedger.claim(${JSON.stringify(file)});
      console.log(process.pid);
      setInterval(() => {}, 1000);
    `;
  }

  test("holds nothing that has ended in order", async () => {
    const ledger = await RunLedger.claim(file);
    const nats = await PrivateNats.start({
      folder: join(folder, "n5"),
      operators: [],
      apps: [],
      ledger,
    });
    equal(JSON.parse(readFileSync(file, "utf8")).processes[0].pid, nats.pid);
    await nats.stop();
    deepEqual(JSON.parse(readFileSync(file, "utf8")).processes, []);
    ledger.release();
  });

  test("is claimed over a file that cannot be read", async () => {
    writeFileSync(file, "{");
    (await RunLedger.claim(file)).release();
  });
});
