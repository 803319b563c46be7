/**
 * What every InboxStore keeps, whatever it is made of (src/ports/inbox-store.ts).
 * Run by one file a driver; a driver's own promises are tested beside it.
 */
import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, test } from "node:test";
import type {
  InboxGroup,
  InboxStore,
  SessionRecord,
  SessionWrite,
} from "../../src/ports/inbox-store.js";
import {
  partitionCount,
  type SessionKey,
  type Shard,
  sessionKey,
} from "../../src/protocol/shards.js";
import { changeContract, dueContract } from "./inbox-indexes.js";
import {
  alice,
  byId,
  type Current,
  commit,
  entries,
  entry,
  fence,
  idempotencyKey,
  numbered,
  one,
  type Reopen,
  raise,
  record,
  seqs,
  shardWrite,
  snapshot,
  stored,
  two,
} from "./inbox-samples.js";

export interface InboxFixture {
  readonly store: InboxStore;
  dispose(): Promise<void>;
}

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

function groupsCover(store: () => InboxStore): void {
  test("every shard is in one group, and the partitions of a lane are", () => {
    const groups = new Set<number>();
    for (let shard = 0; shard < 4096; shard++) {
      groups.add(store().groupOf(shard as Shard));
      const partition = (shard % partitionCount) as Shard;
      assert.equal(store().groupOf(shard as Shard), store().groupOf(partition));
    }
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

  test("an epoch that was given twice passes for its first holder alone", async () => {
    assert.equal((await raise(group(), one, 5, 0, "a")).ok, true);
    const other = await raise(group(), one, 5, 9_000, "b");
    assert.equal(other.ok ? "" : other.code, "FENCED");
    assert.equal(other.epoch, 5);
    assert.equal((await commit(group(), { append: [entry(1)] }, { epoch: 5 })).ok, true);
    await reopen();
    assert.equal((await raise(group(), one, 5, 0, "b")).ok, false);
    assert.deepEqual(await raise(group(), one, 5, 0, "a"), fence(0, 0, 5));
    assert.equal((await raise(group(), one, 6, 0, "b")).ok, true);
    assert.equal((await raise(group(), one, 6, 0, "a")).ok, false);
  });

  test("a raise of many shards answers each in order", async () => {
    await raise(group(), two, 9);
    const answers = await group().raise([
      { shard: one, epoch: 3, holder: "a", reserveUntilMs: 1 },
      { shard: two, epoch: 3, holder: "a", reserveUntilMs: 1 },
    ]);
    assert.deepEqual(
      answers.map(({ ok, epoch }) => [ok, epoch]),
      [
        [true, 3],
        [false, 9],
      ],
    );
  });

  test("a write without sessions changes nothing, and is answered behind those before it", async () => {
    await raise(group(), one, 5);
    const order: string[] = [];
    const append = group().commit([shardWrite({ append: [entry(1)] })]);
    const empty = group().commit([{ shard: one, epoch: 5, sessions: [] }]);
    const noted = (name: string) => () => void order.push(name);
    await Promise.all([append.then(noted("append")), empty.then(noted("empty"))]);
    assert.deepEqual(order, ["append", "empty"]);
    const [answer] = await empty;
    assert.deepEqual([answer?.ok, answer?.epoch], [true, 5]);
    const stands = await snapshot(group());
    const [late] = await group().commit([{ shard: one, epoch: 4, sessions: [] }]);
    assert.deepEqual([late?.ok, late?.epoch], [false, 5]);
    assert.deepEqual(await snapshot(group()), stands);
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
        append.map(({ seq, id, record: { length }, expiresAtMs, collapse, target }) => ({
          seq,
          id,
          bytes: length,
          expiresAtMs,
          ...(collapse === undefined ? {} : { collapse }),
          ...(target === undefined ? {} : { target }),
        })),
      );
      assert.deepEqual(byId(session?.keys ?? []), byId(keys));
      assert.deepEqual(await entries(group()), append);
    };
    await check();
    await reopen();
    await check();
  });

  test("a removed session is as if it had never been stored, and starts anew", async () => {
    const { generation } = record(1);
    const all = {
      record: record(2),
      append: [entry(1), entry(2)],
      remember: [idempotencyKey("a")],
    };
    await commit(group(), all);
    await commit(group(), { drop: [2] });
    assert.ok(await group().loadSession(one, alice));
    assert.deepEqual(await group().namesOf(one, alice), { seqs: [1], keys: ["a"] });
    await commit(group(), {
      remove: true,
      drop: [1],
      forget: ["a"],
      changes: [{ kind: "erased" }],
    });
    assert.equal(await group().loadSession(one, alice), undefined);
    assert.deepEqual(await group().namesOf(one, alice), { seqs: [], keys: [] });
    await reopen();
    assert.equal(await group().loadSession(one, alice), undefined);
    const next: SessionRecord = { generation: generation + 1, lastSeq: 0, devices: [] };
    await commit(group(), { record: next, append: [entry(1)] });
    assert.deepEqual((await group().loadSession(one, alice))?.record, { ...next, lastSeq: 1 });
  });

  test("sessions are listed by key with what they hold, those without entries left out", async () => {
    const names = ["bob", "al", "alice", "empty", "alice%00"];
    const keys = names.map((uid) => sessionKey("demo", uid));
    await group().commit(
      keys.map((key, at) =>
        shardWrite({ key, record: record(9), append: [entry(1), entry(at + 2)] }),
      ),
    );
    await commit(group(), { key: keys[3] as SessionKey, drop: [1, 5] });
    const size = entry(1).record.length;
    const held = (uid: string) => ({
      ...{ key: sessionKey("demo", uid), messages: 2, bytes: 2 * size },
    });
    const sorted = ["al", "alice", "alice%00", "bob"].map(held);
    assert.deepEqual(await group().listSessions(one, "", 10), sorted);
    assert.deepEqual(await group().listSessions(one, "", 2), sorted.slice(0, 2));
    assert.deepEqual(await group().listSessions(one, alice, 10), sorted.slice(2));
    assert.deepEqual(await group().listSessions(two, "", 10), []);
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
    await group().commit([shardWrite({ drop: [2] }), shardWrite({ drop: [1] })]);
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
    assert.deepEqual(
      read.map(({ seq }) => seq),
      [255, 256, 300],
    );
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
