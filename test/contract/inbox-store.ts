/**
 * What every InboxStore keeps, whatever it is made of (src/ports/inbox-store.ts).
 * Run by one file a driver; a driver's own promises are tested beside it.
 */
import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, test } from "node:test";
import {
  changesKept,
  type Change,
  type CommitAnswer,
  type InboxGroup,
  type InboxStore,
  type NumberedChange,
  type SessionRecord,
  type SessionWrite,
  type ShardWrite,
  type StoredEntry,
} from "../../src/ports/inbox-store.js";
import { encodeMsgId } from "../../src/protocol/msg-id.js";
import { sessionKey, type Shard } from "../../src/protocol/shards.js";

export interface InboxFixture {
  readonly store: InboxStore;
  dispose(): Promise<void>;
}

const one = 7 as Shard;
const two = 8 as Shard;
const alice = sessionKey("demo", "alice");

export function inboxStoreContract(name: string, make: () => Promise<InboxFixture>): void {
  describe(`inbox store: ${name}`, () => {
    let fixture: InboxFixture;
    let group: InboxGroup;

    beforeEach(async () => {
      fixture = await make();
      group = await fixture.store.openGroup(fixture.store.groupOf(one));
    });
    afterEach(async () => {
      await group.close();
      await fixture.dispose();
    });
    const reopen = async () => {
      await group.close();
      group = await fixture.store.openGroup(fixture.store.groupOf(one));
    };

    groupsCover(() => fixture.store);
    fenceContract(() => group, reopen);
    sessionContract(() => group, reopen);
    entryContract(() => group, reopen);
    dueContract(() => group, reopen);
    changeContract(() => group, reopen);
  });
}

type Current = () => InboxGroup;
type Reopen = () => Promise<void>;

function groupsCover(store: () => InboxStore): void {
  test("every shard is in one group, and neighbours share it", () => {
    const groups = new Set<number>();
    for (let shard = 0; shard < 4096; shard++) groups.add(store().groupOf(shard as Shard));
    assert.deepEqual(
      [...groups],
      Array.from({ length: store().groupCount }, (_, group) => group),
    );
  });
}

function fenceContract(group: Current, reopen: Reopen): void {
  test("an equal epoch passes, a lower one is refused with the stored epoch", async () => {
    assert.deepEqual(await raise(group(), one, 5), fence(0, 0, 5));
    assert.deepEqual(await raise(group(), one, 5), fence(0, 0, 5));
    const lower = await raise(group(), one, 4);
    assert.equal(lower.ok, false);
    assert.equal(lower.epoch, 5);
    assert.deepEqual(await raise(group(), one, 6), fence(0, 0, 6));
  });

  test("a raise of many shards answers each in order", async () => {
    await raise(group(), two, 9);
    const answers = await group().raise([
      { shard: one, epoch: 3, reserveUntilMs: 1 },
      { shard: two, epoch: 3, reserveUntilMs: 1 },
    ]);
    assert.deepEqual(
      answers.map(({ ok, epoch }) => [ok, epoch]),
      [
        [true, 3],
        [false, 9],
      ],
    );
  });

  test("a write below the fence changes nothing at all", async () => {
    await raise(group(), one, 5);
    await commit(group(), { append: [entry(1)], record: record(1), addDue: [10] });
    const before = await snapshot(group());
    const everything: Partial<SessionWrite> = {
      record: record(99),
      drop: [1],
      append: [entry(2)],
      remember: [idempotencyKey("k")],
      addDue: [5],
      removeDue: [10],
      changes: [stored(2)],
    };
    const answer = await commit(group(), everything, { epoch: 4, reserveUntilMs: 1_000_000 });
    assert.equal(answer.ok, false);
    assert.equal(answer.ok ? "" : answer.code, "FENCED");
    assert.equal(answer.epoch, 5);
    assert.deepEqual(await snapshot(group()), before);
    assert.deepEqual(await raise(group(), one, 5), fence(0, 0, 5));
    await reopen();
    assert.deepEqual(await snapshot(group()), before);
  });

  test("one fenced shard does not stop the others of its commit", async () => {
    await raise(group(), one, 2);
    await raise(group(), two, 7);
    const answers = await group().commit([
      shardWrite({ append: [entry(1)], changes: [stored(1)] }, { epoch: 2 }),
      shardWrite({ append: [entry(1)], changes: [stored(1)] }, { shard: two, epoch: 6 }),
      shardWrite({ append: [entry(2)], changes: [stored(2)] }, { epoch: 2 }),
    ]);
    assert.deepEqual(
      answers.map((answer) => (answer.ok ? answer.value.lastChange : answer.epoch)),
      [1, 7, 2],
    );
    assert.deepEqual(await seqs(group()), [1, 2]);
    assert.equal(await group().loadSession(two, alice), undefined);
  });

  test("commits called before a raise pass, those called after it meet the new fence", async () => {
    await raise(group(), one, 1);
    const early = commit(group(), { append: [entry(1)] }, { epoch: 1 });
    const raised = raise(group(), one, 2);
    const late = commit(group(), { append: [entry(2)] }, { epoch: 1 });
    assert.equal((await early).ok, true);
    assert.equal((await raised).ok, true);
    assert.equal((await late).ok, false);
    assert.deepEqual(await seqs(group()), [1]);
  });

  test("a fence survives the group's reopening", async () => {
    await raise(group(), one, 12, 500);
    await reopen();
    assert.equal((await commit(group(), { append: [entry(1)] }, { epoch: 11 })).ok, false);
    assert.equal((await raise(group(), one, 11)).ok, false);
    assert.deepEqual(await raise(group(), one, 12), fence(500, 0, 12));
  });

  test("a reservation only grows, by raises and by commits", async () => {
    assert.deepEqual(await raise(group(), one, 1, 1_000), fence(0, 0, 1));
    assert.deepEqual(await raise(group(), one, 2, 900), fence(1_000, 0, 2));
    await commit(group(), {}, { epoch: 2, reserveUntilMs: 5_000 });
    await commit(group(), {}, { epoch: 2, reserveUntilMs: 4_000 });
    await reopen();
    assert.deepEqual(await raise(group(), one, 3, 0), fence(5_000, 0, 3));
  });

  test("a closed group refuses as not done", async () => {
    await group().close();
    await assert.rejects(commit(group(), { append: [entry(1)] }), unavailable);
    await assert.rejects(raise(group(), one, 1), unavailable);
    await assert.rejects(group().loadSession(one, alice), unavailable);
    await reopen();
    assert.equal(await group().loadSession(one, alice), undefined);
  });
}

const unavailable = { name: "Fault", code: "STORE_UNAVAILABLE", outcome: "not-done" };

function sessionContract(group: Current, reopen: Reopen): void {
  test("an empty commit answers nothing, an empty write its shard's last change", async () => {
    assert.deepEqual(await group().commit([]), []);
    const answers = await group().commit([{ shard: one, epoch: 0, sessions: [] }]);
    assert.deepEqual(answers, [{ ok: true, value: { lastChange: 0 }, epoch: 0 }]);
  });

  test("a session never stored loads as undefined", async () => {
    assert.equal(await group().loadSession(one, alice), undefined);
    await commit(group(), { addDue: [1], changes: [stored(1)] });
    assert.equal(await group().loadSession(one, alice), undefined);
  });

  test("a session comes back as it was written, also after reopening", async () => {
    const append = [
      entry(4, { collapse: "mail" }),
      entry(5, { target: { device: "phone", platform: "ios" } }),
      entry(6, { collapse: "ü", target: { platform: "web" } }),
      entry(7, { target: {} }),
    ];
    const keys = [idempotencyKey("a"), idempotencyKey("ключ\u0000%2E")];
    await commit(group(), { record: record(7), append, remember: keys });
    const check = async () => {
      const session = await group().loadSession(one, alice);
      assert.deepEqual(session?.record, record(7));
      assert.deepEqual(
        session?.entries,
        append.map(({ seq, record: { length }, expiresAtMs, collapse }) => ({
          seq,
          bytes: length,
          expiresAtMs,
          ...(collapse === undefined ? {} : { collapse }),
        })),
      );
      assert.deepEqual(byId(session?.keys ?? []), byId(keys));
      assert.deepEqual(await entries(group()), append);
    };
    await check();
    await reopen();
    await check();
  });

  test("a record replaces the stored one", async () => {
    await commit(group(), { record: record(1) });
    const next: SessionRecord = { generation: 2 ** 50, lastSeq: 2 ** 45, devices: [] };
    await commit(group(), { record: next });
    assert.deepEqual((await group().loadSession(one, alice))?.record, next);
  });

  test("lastSeq covers the entries appended since, and survives every trim", async () => {
    const lastSeq = async () => (await group().loadSession(one, alice))?.record.lastSeq;
    await commit(group(), { record: record(1), append: [entry(1)] });
    await commit(group(), { append: [entry(2), entry(3)] });
    assert.equal(await lastSeq(), 3);
    await commit(group(), { drop: [3] });
    assert.equal(await lastSeq(), 3);
    await commit(group(), { drop: [1, 2] });
    assert.equal(await lastSeq(), 3);
    assert.deepEqual(await seqs(group()), []);
    await reopen();
    assert.equal(await lastSeq(), 3);
  });

  test("lastSeq survives drops in one commit, out of order", async () => {
    await commit(group(), { append: [entry(1), entry(2)] });
    await group().commit([
      shardWrite({ drop: [2] }),
      shardWrite({ drop: [1] }),
    ]);
    assert.equal((await group().loadSession(one, alice))?.record.lastSeq, 2);
  });

  test("idempotency keys are remembered until they are forgotten", async () => {
    await commit(group(), { remember: [idempotencyKey("a"), idempotencyKey("b")] });
    await commit(group(), { forget: ["a", "never"], remember: [idempotencyKey("c")] });
    await reopen();
    const keys = (await group().loadSession(one, alice))?.keys ?? [];
    assert.deepEqual(byId(keys), [idempotencyKey("b"), idempotencyKey("c")]);
  });

  test("sessions whose keys begin alike do not mix", async () => {
    const names = ["al", "alice", "alic", "alice%00", "alice%20b", "a"];
    const keys = names.map((uid) => sessionKey("demo", uid));
    await group().commit(
      keys.map((key, at) => shardWrite({ key, record: record(at), append: [entry(at + 1)] })),
    );
    for (const [at, key] of keys.entries()) {
      const session = await group().loadSession(one, key);
      assert.equal(session?.record.lastSeq, at + 1);
      assert.deepEqual(await seqs(group(), key), [at + 1]);
    }
    await commit(group(), { key: keys[0] as typeof alice, drop: [1] });
    assert.deepEqual(await seqs(group(), keys[1] as typeof alice), [2]);
  });

  test("the longest keys fit", async () => {
    const key = sessionKey("a".repeat(64), "u".repeat(128));
    const longKey = idempotencyKey("k".repeat(64));
    await commit(group(), { key, append: [entry(1)], remember: [longKey], addDue: [3] });
    assert.deepEqual((await group().loadSession(one, key))?.keys, [longKey]);
    assert.deepEqual(await group().readDue(one, 3, 1), [{ atMs: 3, key }]);
  });

  test("shards do not mix", async () => {
    await group().commit([
      shardWrite({ append: [entry(1)], addDue: [1], changes: [stored(1)] }),
      shardWrite({ append: [entry(2)], addDue: [2], changes: [stored(2)] }, { shard: two }),
    ]);
    assert.deepEqual(await seqs(group()), [1]);
    assert.deepEqual(await group().readDue(one, 9, 9), [{ atMs: 1, key: alice }]);
    assert.deepEqual(await group().readChanges(two, 0, 9), [numbered(1, stored(2))]);
  });
}

function entryContract(group: Current, reopen: Reopen): void {
  test("what is dropped goes before what is appended comes", async () => {
    await commit(group(), { append: [entry(1), entry(2)] });
    await commit(group(), { drop: [1, 2, 3], append: [entry(3)] });
    assert.deepEqual(await seqs(group()), [3]);
    await reopen();
    assert.deepEqual(await seqs(group()), [3]);
  });

  test("entries come ascending, above a seq and at most a count", async () => {
    const many = [300, 2, 255, 256, 1, 70_000, 2 ** 40].map((seq) => entry(seq));
    await commit(group(), { append: many });
    assert.deepEqual(await seqs(group()), [1, 2, 255, 256, 300, 70_000, 2 ** 40]);
    const read = await group().readEntries(one, alice, 2, 3, 1_000_000);
    assert.deepEqual(read.map(({ seq }) => seq), [255, 256, 300]);
    assert.deepEqual(await group().readEntries(one, alice, 2 ** 40, 3, 1_000_000), []);
  });

  test("a read stops before its bytes pass the bound, but never before the first", async () => {
    const sized = [1, 2, 3].map((seq) => entry(seq, { record: new Uint8Array(100).fill(seq) }));
    await commit(group(), { append: sized });
    const read = async (bytesMax: number) =>
      (await group().readEntries(one, alice, 0, 10, bytesMax)).map(({ seq }) => seq);
    assert.deepEqual(await read(1), [1]);
    assert.deepEqual(await read(199), [1]);
    assert.deepEqual(await read(200), [1, 2]);
    assert.deepEqual(await read(300), [1, 2, 3]);
  });

  test("big and empty records come back whole", async () => {
    const big = Uint8Array.from({ length: 64 * 1024 + 300 }, (_, at) => (at * 31) % 251);
    await commit(group(), {
      append: [entry(1, { record: big }), entry(2, { record: new Uint8Array() })],
    });
    await reopen();
    const read = await entries(group());
    assert.deepEqual(read, [entry(1, { record: big }), entry(2, { record: new Uint8Array() })]);
    assert.equal((await group().loadSession(one, alice))?.entries[0]?.bytes, big.length);
  });

  test("many commits at once keep their order", async () => {
    const commits = Array.from({ length: 50 }, (_, at) =>
      commit(group(), {
        drop: [at],
        append: [entry(at + 1)],
        changes: [stored(at + 1)],
      }),
    );
    const answers = await Promise.all(commits);
    assert.deepEqual(
      answers.map((answer) => answer.ok && answer.value.lastChange),
      Array.from({ length: 50 }, (_, at) => at + 1),
    );
    assert.deepEqual(await seqs(group()), [50]);
  });
}

function dueContract(group: Current, reopen: Reopen): void {
  test("due sessions come earliest first, up to a time and a count", async () => {
    const bob = sessionKey("demo", "bob");
    await group().commit([
      shardWrite({ addDue: [1_700_000_000_300, 1_700_000_000_100] }),
      shardWrite({ key: bob, addDue: [1_700_000_000_200, 255, 256] }),
    ]);
    const expected = [
      { atMs: 255, key: bob },
      { atMs: 256, key: bob },
      { atMs: 1_700_000_000_100, key: alice },
      { atMs: 1_700_000_000_200, key: bob },
      { atMs: 1_700_000_000_300, key: alice },
    ];
    const read = (untilMs: number, countMax: number) => group().readDue(one, untilMs, countMax);
    assert.deepEqual(await read(Number.MAX_SAFE_INTEGER, 100), expected);
    assert.deepEqual(await read(1_700_000_000_200, 100), expected.slice(0, 4));
    assert.deepEqual(await read(Number.MAX_SAFE_INTEGER, 3), expected.slice(0, 3));
    assert.deepEqual(await read(254, 3), []);
    await reopen();
    assert.deepEqual(await read(Number.MAX_SAFE_INTEGER, 100), expected);
  });

  test("a due time that is removed is gone, and moving it keeps one", async () => {
    await commit(group(), { addDue: [100, 200] });
    await commit(group(), { removeDue: [100, 999], addDue: [300] });
    await commit(group(), { removeDue: [300], addDue: [300] });
    const due = await group().readDue(one, 1_000, 10);
    assert.deepEqual(due.map(({ atMs }) => atMs), [200, 300]);
  });
}

function changeContract(group: Current, reopen: Reopen): void {
  test("changes of every kind come back, numbered in the order given", async () => {
    const changes: Change[] = [
      stored(2 ** 40),
      { kind: "acked", device: "phone", seq: 3 },
      { kind: "dropped", seqs: [1, 2, 300], reason: "acked" },
      { kind: "dropped", seqs: [], reason: "expired" },
      { kind: "dropped", seqs: [9], reason: "collapsed" },
      { kind: "device-added", device: "tablet-ü", platform: "android" },
      { kind: "device-removed", device: "tablet", reason: "replaced" },
    ];
    await commit(group(), { changes: changes.slice(0, 3) });
    const answer = await commit(group(), { changes: changes.slice(3) });
    assert.deepEqual(answer, { ok: true, value: { lastChange: 7 }, epoch: 0 });
    const expected = changes.map((change, at) => numbered(at + 1, change));
    assert.deepEqual(await group().readChanges(one, 0, 100), expected);
    await reopen();
    assert.deepEqual(await group().readChanges(one, 0, 100), expected);
    assert.deepEqual(await group().readChanges(one, 2, 3), expected.slice(2, 5));
    assert.deepEqual(await group().readChanges(one, 7, 3), []);
    assert.deepEqual(await raise(group(), one, 1), fence(0, 7, 1));
  });

  test("changes of several sessions of a shard share one numbering", async () => {
    const bob = sessionKey("demo", "bob");
    const write = shardWrite({ changes: [stored(1)] });
    const [session] = write.sessions;
    assert.ok(session);
    await group().commit([
      { ...write, sessions: [session, { ...session, key: bob }, session] },
    ]);
    assert.deepEqual(
      (await group().readChanges(one, 0, 9)).map(({ number, key }) => [number, key]),
      [
        [1, alice],
        [2, bob],
        [3, alice],
      ],
    );
  });

  test("the newest changes survive trimming, older ones are bounded", async () => {
    const total = 5 * changesKept + 17;
    for (let written = 0; written < total; ) {
      const count = Math.min(1 + (written % 97), total - written);
      const changes = Array.from({ length: count }, (_, at) => stored(written + at + 1));
      await commit(group(), { changes });
      written += count;
      // Reopening in the middle must neither lose nor repeat a number.
      if (written % 5 === 0) await reopen();
    }
    const kept = await group().readChanges(one, 0, total);
    assert.ok(kept.length >= changesKept, `${kept.length} are kept`);
    assert.ok(kept.length <= 2.5 * changesKept, `${kept.length} are kept`);
    assert.deepEqual(
      kept,
      kept.map((_, at) => {
        const number = total - kept.length + at + 1;
        return numbered(number, stored(number));
      }),
    );
  });

  test("one commit may carry more changes than are kept", async () => {
    const total = 3 * changesKept;
    const changes = Array.from({ length: total }, (_, at) => stored(at + 1));
    await commit(group(), { changes });
    const kept = await group().readChanges(one, total - changesKept, total);
    assert.equal(kept.length, changesKept);
    assert.deepEqual(kept.at(-1), numbered(total, stored(total)));
  });
}

function raise(group: InboxGroup, shard: Shard, epoch: number, reserveUntilMs = 0) {
  return group.raise([{ shard, epoch, reserveUntilMs }]).then(([answer]) => {
    assert.ok(answer, "a raise has one answer per request");
    return answer;
  });
}

function fence(previousReservedUntilMs: number, lastChange: number, epoch: number) {
  return { ok: true, value: { previousReservedUntilMs, lastChange }, epoch };
}

function shardWrite(
  session: Partial<SessionWrite>,
  shard: Partial<Omit<ShardWrite, "sessions">> = {},
): ShardWrite {
  return {
    shard: one,
    // High enough for the tests that are not about fences.
    epoch: 100,
    ...shard,
    sessions: [{ key: alice, changes: [], ...session }],
  };
}

async function commit(
  group: InboxGroup,
  session: Partial<SessionWrite>,
  shard: Partial<Omit<ShardWrite, "sessions">> = {},
): Promise<CommitAnswer> {
  const [answer] = await group.commit([shardWrite(session, shard)]);
  assert.ok(answer, "a commit has one answer per write");
  return answer;
}

async function entries(group: InboxGroup, key = alice): Promise<StoredEntry[]> {
  const read = await group.readEntries(one, key, 0, 1_000, 100_000_000);
  // Plain arrays of bytes, so that a Buffer equals a Uint8Array.
  return read.map((each) => ({ ...each, record: new Uint8Array(each.record) }));
}

async function seqs(group: InboxGroup, key = alice): Promise<number[]> {
  return (await entries(group, key)).map(({ seq }) => seq);
}

async function snapshot(group: InboxGroup) {
  return {
    session: await group.loadSession(one, alice),
    entries: await entries(group),
    due: await group.readDue(one, Number.MAX_SAFE_INTEGER, 100),
    changes: await group.readChanges(one, 0, 100),
  };
}

function entry(seq: number, more: Partial<StoredEntry> = {}): StoredEntry {
  return {
    seq,
    id: encodeMsgId({ timeMs: 1_700_000_000_000, shard: one, idc: 1, sequence: seq % 65_536 }),
    expiresAtMs: 1_700_000_600_000 + seq,
    record: new Uint8Array([seq % 256, 2, 3]),
    ...more,
  };
}

function record(lastSeq: number): SessionRecord {
  return {
    generation: 16_777_217,
    lastSeq,
    devices: [
      { id: "phone", platform: "ios", connect: 3, ackedSeq: 2, seenAtMs: 1_700_000_000_000 },
      { id: "ключ", platform: "web", connect: 2 ** 40, ackedSeq: 0, seenAtMs: 0 },
    ],
  };
}

function idempotencyKey(id: string) {
  const msgId = encodeMsgId({ timeMs: 1_700_000_000_001, shard: one, idc: 1, sequence: 4 });
  return { id, digest: 0xfedc_ba98, msgId, seq: 12, untilMs: 1_700_000_600_000 };
}

function byId<Item extends { readonly id: string }>(items: readonly Item[]): Item[] {
  return [...items].sort((a, b) => (a.id < b.id ? -1 : 1));
}

function stored(seq: number): Change {
  return { kind: "stored", seq, id: entry(seq).id };
}

function numbered(number: number, change: Change, key = alice): NumberedChange {
  return { number, key, change };
}
