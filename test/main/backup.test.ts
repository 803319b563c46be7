/** Backups of nodes that do not run: whole ones come back, damaged ones touch nothing. */
import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { mkdir, rm, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { LmdbInbox, volumeCount } from "../../src/drivers/lmdb-inbox.js";
import { systemClock } from "../../src/drivers/system-clock.js";
import { openBackups } from "../../src/main/backup/backups.js";
import { counterAt } from "../../src/protocol/position.js";
import { type Shard, sessionKey } from "../../src/protocol/shards.js";
import { Scratch } from "../support/scratch.js";

const backups = openBackups({});
const key = sessionKey("demo", "alice");

test("what was backed up comes back, under a floor that grows with each restore", async () => {
  await using scratch = await Scratch.create("backups");
  const { data, backup } = await makeBackup(scratch);
  const verified = await backups.verify(backup);
  assert.ok(verified.ok);
  assert.deepEqual([verified.value.volumes, verified.value.sessions], [volumeCount, volumeCount]);
  const elsewhere = join(scratch.folder, "restored");
  const target = { kind: "data", folder: elsewhere } as const;
  const restored = await backups.restore(backup, { ...target, overwrite: false });
  assert.ok(restored.ok, JSON.stringify(restored));
  assert.deepEqual(readdirSync(elsewhere).sort(), readdirSync(data).sort());
  assert.deepEqual(await lastSeqs(elsewhere), Array(volumeCount).fill(9));
  const first = await floorOf(elsewhere);
  assert.ok(first >= counterAt(Date.now() - 60_000));

  const again = await backups.restore(backup, { ...target, overwrite: false });
  assert.deepEqual([again.ok, !again.ok && again.code], [false, "CONFLICT"]);
  assert.ok((await backups.restore(backup, { ...target, overwrite: true })).ok);
  assert.ok((await floorOf(elsewhere)) >= first);

  const second = join(scratch.folder, "second");
  assert.ok((await backups.create(second, { kind: "data", folder: elsewhere })).ok);
  assert.ok((await backups.restore(second, { ...target, overwrite: true })).ok);
  assert.ok((await floorOf(elsewhere)) > first, "above what the backup itself had behind it");
});

for (const [what, damage] of [
  [
    "a volume that is cut off",
    (backup: string) => truncate(join(backup, "volume-3/data.mdb"), 4_096),
  ],
  ["a flipped bit", (backup: string) => flipBit(join(backup, "volume-5/data.mdb"))],
  ["a missing volume", (backup: string) => rm(join(backup, "volume-7/data.mdb"))],
  ["a changed manifest", (backup: string) => flipBit(join(backup, "manifest.json"))],
  ["no manifest", (backup: string) => rm(join(backup, "manifest.json"))],
] as const) {
  test(`refuses ${what} before anything is written`, async () => {
    await using scratch = await Scratch.create("backups");
    const { data, backup } = await makeBackup(scratch);
    await damage(backup);
    const before = readFileSync(join(data, "volume-0/data.mdb"));
    const verified = await backups.verify(backup);
    assert.deepEqual([verified.ok, !verified.ok && verified.code], [false, "BACKUP_DAMAGED"]);
    const target = { kind: "data", folder: data, overwrite: true } as const;
    const restored = await backups.restore(backup, target);
    assert.deepEqual([restored.ok, !restored.ok && restored.code], [false, "BACKUP_DAMAGED"]);
    assert.deepEqual(readFileSync(join(data, "volume-0/data.mdb")), before);
    const fresh = join(scratch.folder, "fresh");
    assert.equal((await backups.restore(backup, { ...target, folder: fresh })).ok, false);
    assert.equal(existsSync(fresh), false);
  });
}

test("a volume that is open is neither backed up from outside nor overwritten", async () => {
  await using scratch = await Scratch.create("backups");
  const { data, backup } = await makeBackup(scratch);
  const group = await openStore(data).openGroup(6);
  const target = { kind: "data", folder: data, overwrite: true } as const;
  const restored = await backups.restore(backup, target);
  assert.match(restored.ok ? "" : restored.message, /volume-6 is held by process/);
  const another = join(scratch.folder, "another");
  const created = await backups.create(another, { kind: "data", folder: data });
  assert.match(created.ok ? "" : created.message, /volume-6 is held by process/);
  assert.equal((await backups.verify(another)).ok, false, "a backup without an end is none");
  await group.close();
  assert.deepEqual(await lastSeqs(data), Array(volumeCount).fill(9));
});

test("a folder that holds something, and a data folder that holds nothing, are refused", async () => {
  await using scratch = await Scratch.create("backups");
  const { data, backup } = await makeBackup(scratch);
  const full = await backups.create(backup, { kind: "data", folder: data });
  assert.deepEqual([full.ok, !full.ok && full.code], [false, "CONFLICT"]);
  const empty = join(scratch.folder, "empty");
  const none = await backups.create(empty, { kind: "data", folder: join(scratch.folder, "no") });
  assert.deepEqual([none.ok, !none.ok && none.code], [false, "NOT_FOUND"]);
});

test("a backup that was refused or killed is in the way of no other", async () => {
  await using scratch = await Scratch.create("backups");
  const { data } = await makeBackup(scratch);
  const group = await openStore(data).openGroup(6);
  const target = join(scratch.folder, "weekly", "monday");
  const dead = join(scratch.folder, "weekly", "monday.making-4194305-17");
  await mkdir(dead, { recursive: true });
  const refused = await backups.create(target, { kind: "data", folder: data });
  assert.equal(refused.ok, false);
  assert.deepEqual(readdirSync(join(scratch.folder, "weekly")), [], "nothing is left of either");
  await group.close();
  assert.ok((await backups.create(target, { kind: "data", folder: data })).ok);
  assert.ok((await backups.verify(target)).ok);
  assert.deepEqual(readdirSync(join(scratch.folder, "weekly")), ["monday"]);
});

test("a restore takes away what a killed one left, and what a live one makes stays", async () => {
  await using scratch = await Scratch.create("backups");
  const { data, backup } = await makeBackup(scratch);
  const left = ["restoring-4194305", "restoring-4194306-17"];
  const live = `restoring-${process.ppid}`;
  for (const name of [...left, live])
    await mkdir(join(data, name, "volume-0"), { recursive: true });
  const target = { kind: "data", folder: data, overwrite: true } as const;
  assert.ok((await backups.restore(backup, target)).ok);
  const found = readdirSync(data).filter((name) => name.startsWith("restoring"));
  assert.deepEqual(found, [live]);
});

function openStore(dataFolder: string): LmdbInbox {
  return new LmdbInbox({ dataFolder, nodeId: "dc1-a", incarnation: "one", clock: systemClock });
}

/** One session in each volume. */
async function makeBackup(scratch: Scratch): Promise<{ data: string; backup: string }> {
  const data = join(scratch.folder, "data");
  for (let volume = 0; volume < volumeCount; volume++) {
    const group = await openStore(data).openGroup(volume);
    const shard = volume as Shard;
    await group.raise([{ shard, epoch: 1, holder: "dc1-a.one", reserveUntilMs: 1 }]);
    const record = { generation: 7, lastSeq: 9, devices: [] };
    await group.commit([{ shard, epoch: 1, sessions: [{ key, record, changes: [] }] }]);
    await group.close();
  }
  const backup = join(scratch.folder, "backup");
  const created = await backups.create(backup, { kind: "data", folder: data });
  assert.ok(created.ok, JSON.stringify(created));
  return { data, backup };
}

async function lastSeqs(data: string): Promise<(number | undefined)[]> {
  const found: (number | undefined)[] = [];
  for (let volume = 0; volume < volumeCount; volume++) {
    const group = await openStore(data).openGroup(volume);
    const session = await group.loadSession(volume as Shard, key);
    found.push(session?.record.lastSeq);
    await group.close();
  }
  return found;
}

async function floorOf(data: string): Promise<number> {
  const group = await openStore(data).openGroup(0);
  await group.close();
  return group.generationFloor ?? 0;
}

/** In the middle of the file. */
async function flipBit(path: string): Promise<void> {
  const bytes = readFileSync(path);
  const at = Math.floor(bytes.length / 2);
  bytes[at] = (bytes[at] ?? 0) ^ 1;
  await writeFile(path, bytes);
}
