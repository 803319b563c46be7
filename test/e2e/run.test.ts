/**
 * `make run`'s launcher as a stranger starts it, in a folder of its own: what it
 * prints works, and what it started is gone when it is, however it went.
 */
import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:net";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { WebSocket } from "ws";
import { createDevice, type Device } from "../../src/client/device-client.js";
import { NatsBus } from "../../src/drivers/nats-bus.js";
import { connectNats } from "../../src/drivers/nats-connection.js";
import { findNatsServer, type NatsCredentials } from "../../src/main/setup/private-nats.js";
import {
  identify,
  isStillRunning,
  type ProcessIdentity,
} from "../../src/main/setup/process-identity.js";
import { packValue, unpackValue } from "../../src/protocol/codec.js";
import { decodeMsgId } from "../../src/protocol/msg-id.js";
import type { PushAnswer } from "../../src/protocol/push-answer.js";
import { type Program, Scratch } from "../support/scratch.js";
import { until } from "../support/until.js";

const launcher = fileURLToPath(new URL("../../src/main/run.js", import.meta.url));
/** From Ctrl-C to the last process gone, and from kill -9 likewise: patience with a busy machine. */
const stopMsMax = 40_000;
const needsProc = process.platform === "linux" ? false : "finds processes by /proc";

interface Running {
  readonly natsUrl: string;
  readonly app: NatsCredentials;
  readonly nodes: readonly { readonly httpUrl: string; readonly edgeUrl: string }[];
}

/** Held while the tests run, but for those that somebody else has and may let go. */
const usualPorts = [4222, 8080, 8081];
const heldPorts = new Set<number>();
const holders: Server[] = [];

before(async () => {
  for (const port of usualPorts) {
    const holder = createServer().on("error", () => undefined);
    holders.push(holder);
    await new Promise((held) => {
      holder.once("listening", () => heldPorts.add(port));
      holder.once("listening", held).once("error", held).listen(port, "127.0.0.1");
    });
  }
});

after(() => {
  for (const holder of holders) holder.close();
});

test("prints addresses that work, and stops all it started at Ctrl-C", async () => {
  await using scratch = await createHome();
  const run = await startRun(scratch);
  const running = readRunning(scratch);
  assert.equal(statSync(join(scratch.folder, "running.json")).mode & 0o777, 0o600);
  assert.equal(running.nodes.length, 2);
  const printed = [running.natsUrl, ...running.nodes.map(({ edgeUrl }) => edgeUrl)];
  for (const url of printed) {
    assert.ok(run.out.includes(url), `${url} is printed`);
    assert.ok(!heldPorts.has(Number(new URL(url).port)), `${url} is no port of others`);
  }
  assert.ok(run.out.includes(`${running.nodes[0]?.httpUrl}/demo/`), "the page is printed");
  for (const { httpUrl } of running.nodes) {
    await until(`${httpUrl} is healthy`, async () => (await fetch(`${httpUrl}/healthz`)).ok);
    assert.equal((await fetch(`${httpUrl}/demo/`)).status, 200);
  }
  const started = processesOf(scratch);
  run.child.kill("SIGINT");
  assert.equal(await run.ends(stopMsMax), 0, run.told());
  await untilGone(started);
  assert.doesNotMatch(run.err, /belfry:/);
  const left = readdirSync(scratch.folder).filter((name) => name.startsWith("run"));
  assert.deepEqual(left, [], "no note of a run that is over");
});

test("answers a push in its own encoding and delivers it over either node", async () => {
  await using scratch = await createHome();
  await startRun(scratch);
  const running = readRunning(scratch);
  const received: unknown[][] = running.nodes.map(() => []);
  const devices = running.nodes.map((node, at) =>
    connectDevice(node, `user-${at}`, (body) => void received[at]?.push(body)),
  );
  try {
    const request = pushAs(running);
    const json = await request("user-0", Buffer.from('{"body":{"text":"hello"}}'));
    const id = checkedAnswer(JSON.parse(json.toString()), 1);
    const msgpack = await request("user-1", packValue({ body: { text: "hello" } }));
    assert.ok((msgpack[0] ?? 0) >= 0x80, "a msgpack map");
    assert.notEqual(checkedAnswer(unpackValue(msgpack), 1), id);
    await until("each device has its push", () => received.every((each) => each.length === 1));
    assert.deepEqual(received, [[{ text: "hello" }], [{ text: "hello" }]]);
  } finally {
    for (const device of devices) device.close();
  }
});

for (const started of ["nats-server", "node a", "node b"]) {
  test(`stops at Ctrl-C while it starts, just after ${started}`, async () => {
    await using scratch = await createHome();
    const run = launch(scratch);
    await until(`${started} is noted`, () =>
      ledgerOf(scratch).some(({ what }) => what === started),
    );
    const processes = processesOf(scratch);
    run.child.kill("SIGINT");
    assert.equal(await run.ends(stopMsMax), 0, run.told());
    await untilGone([...processes, ...processesOf(scratch)]);
    assert.doesNotMatch(run.out + run.err, /belfry:|starting it again/);
  });
}

test("starts a killed node again at its address", async () => {
  await using scratch = await createHome();
  const run = await startRun(scratch);
  const running = readRunning(scratch);
  const url = running.nodes[0]?.httpUrl ?? "";
  const killed = ledgerOf(scratch).find(({ what }) => what === "node a");
  assert.ok(killed !== undefined);
  process.kill(killed.pid, "SIGKILL");
  await run.says(/node a ended \(SIGKILL\); starting it again/);
  await run.says(/node a is back/);
  await until("it is healthy", async () => (await fetch(`${url}/healthz`)).ok);
  const again = ledgerOf(scratch).find(({ what }) => what === "node a");
  assert.ok(again !== undefined && again.pid !== killed.pid, "noted for the next run");
});

test("starts a killed nats-server again, and the nodes come back to it", async () => {
  await using scratch = await createHome();
  const run = await startRun(scratch);
  const running = readRunning(scratch);
  const body = Buffer.from('{"body":1}');
  checkedAnswer(JSON.parse((await pushAs(running)("alice", body)).toString()), 1);
  const killed = ledgerOf(scratch).find(({ what }) => what === "nats-server");
  assert.ok(killed !== undefined);
  process.kill(killed.pid, "SIGKILL");
  await run.says(/nats-server is back on/);
  const again = Buffer.from('{"body":1,"id":"again"}');
  const { duplicate: _, ...answer } = await until("a push is accepted again", async () => {
    const given = await pushAs(running)("alice", again).catch(() => undefined);
    const answer = given && (JSON.parse(given.toString()) as PushAnswer);
    return answer?.ok && answer;
  });
  checkedAnswer(answer, 2);
});

test("refuses a second run beside a live one, which runs on", async () => {
  await using scratch = await createHome();
  const run = await startRun(scratch);
  const second = launch(scratch);
  assert.equal(await second.ends(), 1);
  const sentence = `belfry: Belfry already runs from this folder as process ${run.pid};`;
  assert.equal(second.err, `${sentence} stop it first.\n`);
  const request = pushAs(readRunning(scratch));
  const answer = await request("alice", Buffer.from('{"body":1}'));
  checkedAnswer(JSON.parse(answer.toString()), 1);
});

test("leaves nothing in the way of the next run when it is killed", async () => {
  await using scratch = await createHome();
  const run = await startRun(scratch);
  const body = Buffer.from('{"body":1}');
  const before = await pushAs(readRunning(scratch))("alice", body);
  checkedAnswer(JSON.parse(before.toString()), 1);
  const leftovers = processesOf(scratch);
  run.child.kill("SIGKILL");
  await run.ends();
  // At once, while the nodes and the server may still be on their way out.
  await startRun(scratch);
  await untilGone(leftovers);
  const answer = await pushAs(readRunning(scratch))("alice", body);
  checkedAnswer(JSON.parse(answer.toString()), 2);
});

test("ends its nodes and its server by themselves when it is killed", {
  skip: needsProc,
}, async () => {
  await using scratch = await createHome();
  const run = await startRun(scratch);
  const leftovers = processesOf(scratch);
  assert.ok(leftovers.length >= 4, "a launcher, two nodes, a server");
  run.child.kill("SIGKILL");
  await untilGone(leftovers);
});

test("refuses a NATS server that does not map pushes to shards", async () => {
  await using scratch = await createHome();
  const args = ["-a", "127.0.0.1", "-p", "-1", "-js", "-sd", join(scratch.folder, "js")];
  const nats = scratch.start(await findNatsServer(), args);
  const [, port] = await nats.says(/Listening for client connections on 127\.0\.0\.1:(\d+)/);
  const run = launch(scratch, { NATS_URL: `nats://127.0.0.1:${port}` });
  assert.equal(await run.ends(), 1);
  const sentence =
    'belfry: this NATS server does not map "push.*.user.*" to shards; take the mappings of nats.conf';
  assert.equal(run.err, `${sentence}\n`);
  assert.equal(run.out, "");
  assert.equal(nats.end, undefined, "a server of others is left alone");
});

test("says in one line that its folder cannot be made", async () => {
  await using scratch = await createHome();
  const file = join(scratch.folder, "file");
  writeFileSync(file, "");
  const run = launch(scratch, { BELFRY_HOME: join(file, "home") });
  assert.equal(await run.ends(), 1);
  assert.match(run.err, /^belfry: ENOTDIR: .*\/file\/home'\n$/);
});

/** A home for a run; whatever of the run still lives at the test's end is killed first. */
async function createHome(): Promise<Scratch> {
  const scratch = await Scratch.create("run");
  scratch.defer(async () => {
    const left = processesOf(scratch);
    for (const each of left) if (isStillRunning(each)) process.kill(each.pid, "SIGKILL");
    await untilGone(left);
  });
  return scratch;
}

/** Resolves when the addresses are printed. */
async function startRun(scratch: Scratch): Promise<Program> {
  const run = launch(scratch);
  await run.says(/Ctrl-C stops everything/);
  return run;
}

function launch(scratch: Scratch, env: Readonly<Record<string, string>> = {}): Program {
  // Under `make test` the variables of make would be this run's as well.
  const clean = { NATS_URL: undefined, MAKELEVEL: undefined, BELFRY_LOG_LEVEL: undefined };
  return scratch.start(process.execPath, ["--enable-source-maps", launcher], {
    env: { ...clean, BELFRY_HOME: scratch.folder, ...env },
  });
}

function readRunning(scratch: Scratch): Running {
  return JSON.parse(readFileSync(join(scratch.folder, "running.json"), "utf8"));
}

/** What the run has noted of its processes; nothing before it has begun to. */
function ledgerOf(scratch: Scratch): readonly (ProcessIdentity & { what: string })[] {
  const file = join(scratch.folder, "run.json");
  return existsSync(file) ? JSON.parse(readFileSync(file, "utf8")).processes : [];
}

/** Every process with this run's folder in its environment; on other systems, those noted. */
function processesOf(scratch: Scratch): ProcessIdentity[] {
  if (needsProc) return [...ledgerOf(scratch)];
  const mark = `BELFRY_HOME=${scratch.folder}\0`;
  const pids = readdirSync("/proc").filter((name) => /^\d+$/.test(name) && hasMark(name, mark));
  return pids.flatMap((pid) => identify(Number(pid)) ?? []);
}

function hasMark(pid: string, mark: string): boolean {
  try {
    return readFileSync(`/proc/${pid}/environ`, "latin1").includes(mark);
  } catch {
    // It ended meanwhile, or is another user's.
    return false;
  }
}

async function untilGone(processes: readonly ProcessIdentity[]): Promise<void> {
  const isGone = () => !processes.some(isStillRunning);
  await until("every process of the run is gone", isGone, stopMsMax);
}

/** Requests as the demo app, with the credentials that the launcher noted for people. */
function pushAs({ natsUrl, app }: Running) {
  return async (uid: string, command: Uint8Array): Promise<Buffer> => {
    const { user, pass: password, inboxPrefix } = app;
    const connection = await connectNats({ url: natsUrl, name: "t", user, password, inboxPrefix });
    try {
      const bus = new NatsBus(connection);
      const answer = await bus.request(`push.demo.user.${uid}`, command, 20_000);
      return Buffer.from(answer);
    } finally {
      await connection.close();
    }
  };
}

/** The id of an answer that accepts, in its documented form and nothing more. */
function checkedAnswer(answer: unknown, seq: number): string {
  const { id } = answer as Extract<PushAnswer, { ok: true }>;
  assert.deepEqual(answer, { ok: true, id, seq });
  assert.ok(decodeMsgId(id) !== undefined, id);
  return id;
}

function connectDevice(
  { httpUrl, edgeUrl }: Running["nodes"][number],
  user: string,
  onBody: (body: unknown) => void,
): Device {
  const device = createDevice({
    url: edgeUrl,
    socket: WebSocket as unknown as NonNullable<Parameters<typeof createDevice>[0]["socket"]>,
    getToken: async () => {
      const answer = await fetch(`${httpUrl}/demo/token`, {
        method: "POST",
        body: JSON.stringify({ user }),
      });
      return ((await answer.json()) as { token: string }).token;
    },
    start: "all",
    onMessage: ({ body }) => onBody(body),
  });
  device.connect();
  return device;
}
