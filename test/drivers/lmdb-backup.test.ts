/** Copies of volumes: taken beside writers, read back, and made a restored store. */
import assert from "node:assert/strict";
import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { copyVolume, inspectCopy, markRestored } from "../../src/drivers/lmdb-backup.js";
import { LmdbInbox, type LmdbInboxOptions } from "../../src/drivers/lmdb-inbox.js";
import { systemClock } from "../../src/drivers/system-clock.js";
import type { InboxGroup, StoredEntry } from "../../src/ports/inbox-store.js";
import { encodeMsgId } from "../../src/protocol/msg-id.js";
import { counterAt, generationFrom, makeGeneration } from "../../src/protocol/position.js";
import { type Shard, sessionKey } from "../../src/protocol/shards.js";
import { Scratch } from "../support/scratch.js";
import { until } from "../support/until.js";

const shard = 0 as Shard;
const keys = Array.from({ length: 300 }, (_, at) => sessionKey("demo", `user-${at}`));

function openStore(dataFolder: string, more: Partial<LmdbInboxOptions> = {}): LmdbInbox {
  const own = { nodeId: "dc1-a", incarnation: "one", clock: systemClock };
  return new LmdbInbox({ dataFolder, ...own, ...more });
}

function entryOf(seq: number): StoredEntry {
  const id = encodeMsgId({ timeMs: 1_000 + seq, shard, idc: 1, sequence: 0 });
  return { seq, id, expiresAtMs: 9e12, record: new Uint8Array(700).fill(seq % 256) };
}

async function raise(group: InboxGroup, epoch: number, reserveUntilMs = 10_000) {
  const [answer] = await group.raise([{ shard, epoch, holder: "dc1-a.one", reserveUntilMs }]);
  return answer;
}

/** Each commit: entry `seq` of every session, and the record that says so. */
async function writeRound(group: InboxGroup, epoch: number, seq: number): Promise<void> {
  const record = { generation: 7, lastSeq: seq, devices: [] };
  const sessions = keys.map((key) => {
    const entry = entryOf(seq);
    return {
      key,
      record,
      append: [entry],
      ...(seq > 5 ? { drop: [seq - 5] } : {}),
      changes: [{ kind: "stored", seq, id: entry.id } as const],
    };
  });
  const [answer] = await group.commit([{ shard, epoch, sessions }]);
  assert.equal(answer?.ok, true);
}

async function permitted(scratch: Scratch, name: string): Promise<string> {
  const folder = join(scratch.folder, name);
  await mkdir(folder);
  await writeFile(join(folder, "permit"), "a-permit");
  return folder;
}

test("a copy taken while commits go on holds whole commits and nothing else", async () => {
  await using scratch = await Scratch.create("backup");
  const group = await openStore(join(scratch.folder, "data")).openGroup(0);
  await raise(group, 1);
  let seq = 0;
  const copies = ["one", "two", "three"];
  for (const name of copies) {
    const folder = await permitted(scratch, name);
    let isCopying = true;
    const copied = group.backUp?.(folder, "a-permit").finally(() => {
      isCopying = false;
    });
    do await writeRound(group, 1, ++seq);
    while (isCopying);
    await copied;
  }
  await group.close();
  let lastSeen = 0;
  for (const [at, name] of copies.entries()) {
    const data = join(scratch.folder, `restored-${at}`);
    await mkdir(join(data, "volume-0"), { recursive: true });
    await writeFile(
      join(data, "volume-0", "data.mdb"),
      await readFile(join(scratch.folder, name, "data.mdb")),
    );
    const content = await inspectCopy(join(scratch.folder, name), 0);
    const read = await openStore(data).openGroup(0);
    const sessions = await Promise.all(keys.map((key) => read.loadSession(shard, key)));
    const lastSeqs = new Set(sessions.map((session) => session?.record.lastSeq));
    assert.equal(lastSeqs.size, 1, "all sessions stand after one commit");
    const [last = 0] = lastSeqs;
    for (const session of sessions) {
      const seqs = session?.entries.map((entry) => entry.seq) ?? [];
      assert.deepEqual(
        seqs,
        Array.from({ length: seqs.length }, (_, n) => last - seqs.length + 1 + n),
      );
    }
    assert.equal(content.changes, last * keys.length);
    assert.equal(content.sessions, last === 0 ? 0 : keys.length);
    assert.equal(content.entries, Math.min(last, 5) * keys.length);
    assert.ok(last >= lastSeen);
    lastSeen = last;
    await read.close();
  }
  assert.ok(lastSeen > 0 && lastSeen <= seq);
});

test("writes only where whoever asks has written its permit", async () => {
  await using scratch = await Scratch.create("backup");
  const group = await openStore(join(scratch.folder, "data")).openGroup(0);
  const folder = await permitted(scratch, "target");
  await assert.rejects(async () => group.backUp?.(folder, "another"), /nobody has prepared it/);
  await assert.rejects(async () => group.backUp?.(scratch.folder, "a-permit"), /nobody/);
  await group.close();
});

for (const [how, end] of [
  ["its group is closed", () => undefined],
  ["it is told to", (ending: AbortController) => ending.abort("the group leaves")],
] as const) {
  test(`a copy that takes for ever is ended when ${how}, and keeps nobody`, async () => {
    await using scratch = await Scratch.create("backup");
    const data = join(scratch.folder, "data");
    const paced = gate();
    const group = await openStore(data, { copyPace: paced.wait }).openGroup(0);
    await raise(group, 1);
    await writeRound(group, 1, 1);
    const folder = await permitted(scratch, "target");
    const ending = new AbortController();
    const copied = group.backUp?.(folder, "a-permit", ending.signal);
    const isEnded = assert.rejects(async () => copied, { code: "NOT_READY", outcome: "not-done" });
    await paced.reached;
    end(ending);
    // Writers go on beside it, also when it is over.
    if (ending.signal.aborted) await writeRound(group, 1, 2);
    await group.close();
    await isEnded;
    const next = await openStore(data).openGroup(0);
    await raise(next, 2);
    await writeRound(next, 2, 3);
    const again = next.backUp?.(folder, "a-permit");
    paced.open();
    await again;
    assert.equal(
      (await inspectCopy(folder, 0)).entries,
      2 * keys.length + (ending.signal.aborted ? keys.length : 0),
    );
    await until("what was ended leaves nothing", async () => {
      const left = (await readdir(folder)).sort();
      return left.join() === "data.mdb,permit";
    });
    await next.close();
  });
}

/** Shut until it is opened; tells when somebody stands before it. */
function gate() {
  let open = () => {};
  let reach = () => {};
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  const reached = new Promise<void>((resolve) => {
    reach = resolve;
  });
  const wait = () => {
    reach();
    return opened;
  };
  return { wait, reached, open };
}

test("a marked copy gives no epoch, no MsgID time and no generation of the lost timeline", async () => {
  await using scratch = await Scratch.create("backup");
  const data = join(scratch.folder, "data");
  const group = await openStore(data).openGroup(0);
  await raise(group, 3);
  await writeRound(group, 3, 1);
  await group.close();
  const floor = counterAt(Date.UTC(2026, 10, 22));
  const mark = { generationFloor: floor, epoch: 7_000_000, reserveUntilMs: 50_000 };
  await markRestored(join(data, "volume-0"), 0, mark);
  const restored = await openStore(data).openGroup(0);
  assert.equal(restored.generationFloor, floor);
  const low = await raise(restored, 4);
  assert.deepEqual([low?.ok, low?.epoch], [false, 7_000_000]);
  const same = await raise(restored, 7_000_000);
  assert.equal(same?.ok, false, "the epoch of the mark itself is nobody's");
  const high = await raise(restored, 7_000_001, 10);
  assert.ok(high?.ok);
  assert.equal(high.value.previousReservedUntilMs, 50_000);
  await restored.close();
  await markRestored(join(data, "volume-0"), 0, { ...mark, generationFloor: 1, epoch: 1 });
  const again = await openStore(data).openGroup(0);
  assert.equal(again.generationFloor, floor, "a later mark lowers nothing");
  assert.equal((await raise(again, 7_000_001))?.ok, false);
  await again.close();
});

test("does not copy a volume that a live process has", async () => {
  await using scratch = await Scratch.create("backup");
  const data = join(scratch.folder, "data");
  const group = await openStore(data).openGroup(0);
  const target = join(scratch.folder, "target");
  await mkdir(target);
  await assert.rejects(copyVolume(join(data, "volume-0"), target), /is held by process/);
  await group.close();
  await copyVolume(join(data, "volume-0"), target);
  assert.equal((await inspectCopy(target, 0)).sessions, 0);
});

test("a generation from before the floor is a new one, the same at each load", () => {
  const floor = counterAt(Date.UTC(2026, 10, 22));
  const before = makeGeneration(0, 1, 12_345);
  const after = generationFrom(before, floor, 1);
  assert.ok(after > before);
  assert.equal(generationFrom(before, floor, 1), after);
  assert.equal(generationFrom(after, floor, 1), after);
  assert.equal(generationFrom(before, 0, 1), before, "a store that was never restored");
  const later = counterAt(Date.UTC(2026, 10, 22, 1));
  assert.ok(generationFrom(after, later, 1) > after, "restored once more");
  const moved = makeGeneration(3, 2, 5);
  assert.ok(generationFrom(moved, floor, 2) > moved);
  assert.ok(Number.isSafeInteger(makeGeneration(2 ** 20 - 1, 15, 2 ** 29 - 1)));
  // As generations were laid out before: whatever the IDC, below every floor.
  assert.notEqual(
    generationFrom(15 * 2 ** 20 + 2 ** 20 - 1, floor, 15),
    15 * 2 ** 20 + 2 ** 20 - 1,
  );
});
