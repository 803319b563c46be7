/** What the embedded store promises beside the contract: the disk, and one opener. */
import assert from "node:assert/strict";
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdir, mkdtemp, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { afterEach, beforeEach, describe, test } from "node:test";
import { WriteBatch } from "../../src/drivers/lmdb-bytes.js";
import { LmdbEnvironment } from "../../src/drivers/lmdb-environment.js";
import { type Holder, readHolder, startTimeOf, takeFolder } from "../../src/drivers/lmdb-holder.js";
import * as layout from "../../src/drivers/lmdb-layout.js";
import type { MsgId } from "../../src/protocol/msg-id.js";
import { sessionKey } from "../../src/protocol/shards.js";
import { commitEntry, inbox, key, shard } from "../contract/lmdb-process.js";
import { until } from "../support/until.js";

const script = new URL("../contract/lmdb-process.js", import.meta.url).pathname;
const unavailable = { name: "Fault", code: "STORE_UNAVAILABLE" };

let dataFolder = "";
let volume = "";
const children: ChildProcess[] = [];

beforeEach(async () => {
  dataFolder = await mkdtemp(join(tmpdir(), "belfry-lmdb-"));
  volume = join(dataFolder, "volume-0");
});
afterEach(async () => {
  for (const child of children.splice(0)) child.kill("SIGKILL");
  await rm(dataFolder, { recursive: true, force: true });
});

/** In place of an entry of the session. */
const junk = new TextEncoder().encode("junk");

async function spoilEntry(seq: number): Promise<void> {
  const environment = await LmdbEnvironment.open(volume);
  const batch = new WriteBatch();
  layout.entryKey(batch, shard, key, seq).startValue().raw(junk).endPut();
  await environment.write(batch);
  await environment.close();
}

describe("lmdb: the disk", () => {
  test("what was answered before kill -9 is there", async () => {
    const { child, lines } = start("write");
    await until("some commits were answered", () => lines.length > 200);
    child.kill("SIGKILL");
    await once(child, "exit");
    const answered = Number(lines.at(-1)?.committed);
    const group = await inbox(dataFolder).openGroup(0);
    const session = await group.loadSession(shard, key);
    const seqs = session?.entries.map(({ seq }) => seq) ?? [];
    assert.ok(seqs.length >= answered, `${seqs.length} of ${answered} are there`);
    assert.deepEqual(
      seqs,
      seqs.map((_, at) => at + 1),
    );
    const changes = await group.readChanges(shard, 0, 1_000_000);
    assert.equal(changes.at(-1)?.number, seqs.length);
    await group.close();
  });

  const strace = spawnSync("strace", ["-V"]).error === undefined;
  const skip = strace ? false : "strace is not installed";
  test("a commit is answered after the flush to disk", { skip }, async () => {
    const trace = join(dataFolder, "trace");
    const calls = "trace=fdatasync,fsync,pwrite64,pwritev,writev,write,openat";
    const { child, lines } = start("write", ["strace", "-f", "-y", "-e", calls, "-o", trace]);
    await until("some commits were answered", () => lines.length > 10, 60_000);
    const exited = once(child, "exit");
    process.kill(Number(lines[0]?.open), "SIGKILL");
    await exited;
    const traced = (await readFile(trace, "utf8")).split("\n");
    // The meta page goes through a descriptor of its own, opened O_DSYNC.
    assert.ok(
      traced.some((line) => /data\.mdb.*O_DSYNC/.test(line)),
      "the meta page is synced",
    );
    const answers = traced.flatMap((line, at) => (line.includes('\\"committed\\"') ? [at] : []));
    assert.ok(answers.length > 5);
    for (const [index, at] of answers.slice(0, -1).entries()) {
      const next = traced.slice(at + 1, answers[index + 1]);
      const flushed = next.findIndex((line) => /fdatasync\(|fdatasync resumed/.test(line));
      const written = next.findLastIndex((line) => /write.*data\.mdb|pwrite.*resumed/.test(line));
      assert.ok(flushed >= 0, `flushed before answer ${index + 1}`);
      assert.ok(written > flushed, "the meta page is written after the pages are flushed");
    }
  });

  test("a row that does not read is a fault of its session alone, and can be named", async () => {
    const group = await inbox(dataFolder).openGroup(0);
    const other = sessionKey("demo", "bob");
    const append = [{ seq: 1, id: "0".repeat(16) as MsgId, expiresAtMs: 1, record: junk }];
    await group.commit([{ shard, epoch: 1, sessions: [{ key: other, append, changes: [] }] }]);
    await commitEntry(group, 1);
    await commitEntry(group, 2);
    await group.close();
    await spoilEntry(1);
    const again = await inbox(dataFolder).openGroup(0);
    await assert.rejects(again.loadSession(shard, key), {
      ...{ name: "Fault", code: "STORE_CORRUPT", outcome: "not-done" },
    });
    assert.deepEqual(await again.namesOf(shard, key), { seqs: [1, 2], keys: [] });
    assert.equal((await again.loadSession(shard, other))?.entries.length, 1);
    const sizes = await again.listSessions(shard, "", 10);
    assert.deepEqual(
      sizes.map((size) => [size.key, size.messages, size.bytes]),
      [
        [key, 2, 100 + junk.length],
        [other, 1, junk.length],
      ],
    );
    const erased = { key, remove: true, drop: [1, 2], changes: [] };
    await again.commit([{ shard, epoch: 1, sessions: [erased] }]);
    assert.equal(await again.loadSession(shard, key), undefined);
    await again.close();
  });

  test("no room is a fault with nothing done, and what was answered stays", async () => {
    // 8 MiB, in the shell's blocks of 512 bytes or 1 KiB.
    const limited = ["sh", "-c", 'ulimit -f 8192; exec "$@"', "sh"];
    const { child, lines } = start("fill", limited);
    await once(child, "exit");
    const fault = lines.find((line) => line.code !== undefined);
    assert.equal(fault?.code, "STORE_UNAVAILABLE");
    assert.equal(fault?.outcome, "not-done");
    assert.match(String(fault?.message), /volume-0 cannot be used: .*(EIO|EFBIG)/);
    const committed = Number(fault?.committed);
    assert.ok(committed > 10);
    const after = lines.find((line) => line.readable !== undefined);
    assert.equal(after?.readable, committed);
    assert.deepEqual(
      after?.numbers,
      Array.from({ length: committed + 1 }, (_, at) => at + 1),
    );
    assert.deepEqual(lines.at(-1), { closed: true });
    const group = await inbox(dataFolder).openGroup(0);
    assert.equal((await group.loadSession(shard, key))?.entries.length, committed + 1);
    await group.close();
  });

  test("a folder that cannot be used is named", async () => {
    await writeFile(volume, "a file");
    await assert.rejects(inbox(dataFolder).openGroup(0), {
      ...unavailable,
      outcome: "not-done",
      message: /volume-0/,
    });
    await rm(volume);
    await mkdir(volume);
    await writeFile(join(volume, "data.mdb"), "x".repeat(10_000));
    await assert.rejects(inbox(dataFolder).openGroup(0), { ...unavailable, message: /volume-0/ });
    await rm(join(volume, "data.mdb"));
    await mkdir(join(volume, "lock.mdb"));
    await assert.rejects(inbox(dataFolder).openGroup(0), { ...unavailable, message: /lock\.mdb/ });
    await rm(join(volume, "lock.mdb"), { recursive: true });
    const group = await inbox(dataFolder).openGroup(0);
    await group.close();
  });
});

describe("lmdb: one opener", () => {
  test("a live holder is killed, counted, and the volume opened", async () => {
    const { child, lines } = start("hold");
    await until("it is open", () => lines.length > 0);
    const exited = once(child, "exit");
    const store = inbox(dataFolder);
    const group = await store.openGroup(0);
    assert.deepEqual(await exited, [null, "SIGKILL"]);
    assert.equal(store.killedHolders, 1);
    await commitEntry(group, 1);
    await group.close();
  });

  test("a live holder that is leaving is waited for, and lives on", async () => {
    const { child, lines } = start("leave");
    await until("it is open", () => lines.length > 0);
    const store = inbox(dataFolder, "test", 30_000);
    const opening = store.openGroup(0);
    child.kill("SIGUSR2");
    const group = await opening;
    assert.equal(store.killedHolders, 0);
    assert.equal(child.exitCode ?? child.signalCode, null);
    await commitEntry(group, 1);
    await group.close();
  });

  test("a paused holder is killed too", async () => {
    const { child, lines } = start("write");
    await until("it writes", () => lines.length > 50);
    child.kill("SIGSTOP");
    const store = inbox(dataFolder);
    const group = await store.openGroup(0);
    assert.equal(store.killedHolders, 1);
    await commitEntry(group, 1_000_000);
    await group.close();
  });

  // A taker that was stopped while it waited, or was only slow, wrote its record over that of
  // the process that had been given the volume meanwhile, and both had the environment open.
  test("a taker that slept while another one took the volume fails, and leaves it its own", async () => {
    const [former, owner] = [await startIdle(), await startIdle()];
    await record(former.holder);
    const { hasLooked, taken } = take(900_001);
    await until("it waits", hasLooked);
    await record(owner.holder);
    await assert.rejects(taken, {
      ...unavailable,
      outcome: "not-done",
      message: `${volume} was taken by process ${owner.child.pid} (node idle) while this process waited for it`,
    });
    assert.deepEqual(await readHolder(volume), owner.holder);
    for (const { child } of [former, owner]) assert.equal(child.exitCode ?? child.signalCode, null);
  });

  // The record was renamed over whatever was there: both had the volume.
  test("of two takers that wait for one holder, one has the volume and the other fails", async () => {
    const idle = await startIdle();
    await record(idle.holder);
    const takers = [take(900_001), take(900_002)];
    await until("both wait", () => takers.every(({ hasLooked }) => hasLooked()));
    idle.child.kill("SIGKILL");
    const results = await Promise.allSettled(takers.map(({ taken }) => taken));
    const won = results.findIndex(({ status }) => status === "fulfilled");
    const [lost] = results.flatMap((one) => (one.status === "rejected" ? [one.reason] : []));
    assert.equal(lost?.code, "STORE_UNAVAILABLE");
    assert.equal((await readHolder(volume))?.pid, 900_001 + won);
    assert.deepEqual(await readdir(volume), ["holder.json"]);
  });

  // It was compared by its process alone: back as another incarnation, it was killed.
  test("a holder that left and was given the volume again is not killed for having been slow", async () => {
    const idle = await startIdle();
    await record(idle.holder);
    const { hasLooked, taken } = take(900_001);
    await until("it waits", hasLooked);
    await record({ ...idle.holder, incarnation: "2", atMs: 2 });
    await assert.rejects(taken, { ...unavailable, outcome: "not-done" });
    assert.equal(idle.child.exitCode ?? idle.child.signalCode, null);
    assert.equal((await readHolder(volume))?.incarnation, "2");
  });

  test("a dead holder is not waited for", async () => {
    const { child, lines } = start("hold");
    await until("it is open", () => lines.length > 0);
    child.kill("SIGKILL");
    await once(child, "exit");
    const store = inbox(dataFolder);
    const group = await store.openGroup(0);
    assert.equal(store.killedHolders, 0);
    await group.close();
  });

  test("a stranger under the recorded pid is left alone", async () => {
    const stranger = spawn(process.execPath, ["-e", "setInterval(() => {}, 1000)"]);
    children.push(stranger);
    await mkdir(volume);
    const record = { pid: stranger.pid, startTime: "earlier", nodeId: "n", incarnation: "1" };
    await writeFile(join(volume, "holder.json"), JSON.stringify(record));
    const store = inbox(dataFolder);
    const group = await store.openGroup(0);
    assert.equal(store.killedHolders, 0);
    assert.equal(stranger.exitCode ?? stranger.signalCode, null);
    await group.close();
  });

  test("a torn holder record does not stop anybody", async () => {
    await mkdir(volume);
    await writeFile(join(volume, "holder.json"), '{"pid": 12');
    const group = await inbox(dataFolder).openGroup(0);
    await group.close();
  });

  test("the holder is recorded while the volume is open", async () => {
    const group = await inbox(dataFolder, "idc1-a").openGroup(0);
    const holder = await readHolder(volume);
    assert.equal(holder?.pid, process.pid);
    assert.equal(holder?.startTime, await startTimeOf(process.pid));
    assert.equal(holder?.nodeId, "idc1-a");
    await group.close();
    assert.equal(await readHolder(volume), undefined);
  });

  test("one process cannot open a volume twice", async () => {
    const group = await inbox(dataFolder).openGroup(0);
    await assert.rejects(inbox(dataFolder).openGroup(0), {
      ...unavailable,
      outcome: "not-done",
      message: /open in this process already/,
    });
    const other = await inbox(dataFolder).openGroup(1);
    await Promise.all([group.close(), other.close()]);
    const again = await inbox(dataFolder).openGroup(0);
    await again.close();
  });

  test("an opener that the record did not see takes the writes away", async () => {
    const group = await inbox(dataFolder).openGroup(0);
    await commitEntry(group, 1);
    // As in a container with pids of its own: our record says nothing to the other.
    await rm(join(volume, "holder.json"));
    const { child, lines } = start("hold");
    await until("the other is open", () => lines.length > 0);
    await assert.rejects(commitEntry(group, 2), {
      ...unavailable,
      outcome: "not-done",
      message: /another process took/,
    });
    assert.equal((await group.loadSession(shard, key))?.entries.length, 1);
    child.kill("SIGKILL");
    await once(child, "exit");
    await group.close();
  });
});

/** A live process that is recorded as the holder and never leaves. */
async function startIdle() {
  const child = spawn(process.execPath, ["-e", "setInterval(() => {}, 1000)"]);
  children.push(child);
  const pid = child.pid ?? 0;
  const startTime = (await startTimeOf(pid)) ?? "";
  const holder: Holder = { pid, startTime, nodeId: "idle", incarnation: "1", atMs: 1 };
  return { child, holder };
}

async function record(holder: Holder): Promise<void> {
  await mkdir(volume, { recursive: true });
  const temporary = join(volume, "record");
  await writeFile(temporary, JSON.stringify(holder));
  await rename(temporary, join(volume, "holder.json"));
}

/** A taker of its own pid in this process; `hasLooked` once it has read whom to wait for. */
function take(pid: number) {
  let looks = 0;
  const holder = {
    // Compared with the recorded one as soon as that is read.
    get pid() {
      looks++;
      return pid;
    },
    startTime: "now",
    nodeId: `n${pid}`,
    incarnation: "1",
    atMs: pid,
  };
  // Longer than a busy machine takes from this process at a time.
  const taken = takeFolder(volume, holder, 20_000);
  taken.catch(() => undefined);
  return { hasLooked: () => looks > 0, taken };
}

type Line = Readonly<Record<string, unknown>>;

function start(task: string, wrapper: readonly string[] = []) {
  const [command = "", ...parameters] = [...wrapper, process.execPath, script, task, dataFolder];
  const child = spawn(command, parameters, { stdio: ["ignore", "pipe", "ignore"] });
  children.push(child);
  const lines: Line[] = [];
  createInterface({ input: child.stdout }).on("line", (line) => {
    lines.push(JSON.parse(line) as Line);
  });
  return { child, lines };
}
