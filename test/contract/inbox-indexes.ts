/** The inbox contract's part on what is found by time and by number: dues and changes. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type Change, unpublishedMax } from "../../src/ports/inbox-store.js";
import { sessionKey } from "../../src/protocol/shards.js";
import {
  alice,
  type Current,
  commit,
  entry,
  fence,
  numbered,
  one,
  type Reopen,
  raise,
  shardWrite,
  stored,
} from "./inbox-samples.js";

export function dueContract(group: Current, reopen: Reopen): void {
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

  test("what is due at one time comes by key, whoever was stored first", async () => {
    const keys = ["b", "ab", "a-", "a", "B"].map((uid) => sessionKey("demo", uid));
    for (const key of keys) await commit(group(), { key, addDue: [7] });
    const due = await group().readDue(one, 7, 10);
    assert.deepEqual(
      due.map(({ key }) => key),
      [...keys].sort(),
    );
    assert.deepEqual(await group().readDue(one, 7, 2), due.slice(0, 2));
  });

  test("a due time that is removed is gone, and moving it keeps one", async () => {
    await commit(group(), { addDue: [100, 200] });
    await commit(group(), { removeDue: [100, 999], addDue: [300] });
    await commit(group(), { removeDue: [300], addDue: [300] });
    const due = await group().readDue(one, 1_000, 10);
    assert.deepEqual(
      due.map(({ atMs }) => atMs),
      [200, 300],
    );
  });
}

export function changeContract(group: Current, reopen: Reopen): void {
  test("changes of every kind come back, numbered in the order given", async () => {
    const changes: Change[] = [
      stored(2 ** 40),
      { kind: "acked", device: "phone", seq: 3 },
      { kind: "dropped", seqs: [1, 2, 300], reason: "acked" },
      { kind: "dropped", seqs: [], reason: "expired" },
      { kind: "dropped", seqs: [9], reason: "collapsed" },
      { kind: "device-added", device: "tablet-ü", platform: "android" },
      { kind: "device-removed", device: "tablet", reason: "replaced" },
      { kind: "acked", device: "phone", seq: 4, ids: [entry(3).id, entry(4).id] },
      { kind: "acked", device: "phone", seq: 5, ids: [] },
      { kind: "dropped", seqs: [4, 5], reason: "recalled", ids: [entry(4).id, entry(5).id] },
      { kind: "dropped", seqs: [6], reason: "set-aside" },
      { kind: "dropped", seqs: [7], reason: "bound" },
      { kind: "announced", presence: "background" },
      { kind: "erased" },
      { kind: "opened", device: "phone-ü", id: entry(3).id },
    ];
    await commit(group(), { changes: changes.slice(0, 3) });
    const answer = await commit(group(), { changes: changes.slice(3) });
    assert.deepEqual(answer, { ok: true, value: { lastChange: 15 }, epoch: 0 });
    const expected = changes.map((change, at) => numbered(at + 1, change));
    assert.deepEqual(await group().readChanges(one, 0, 100), expected);
    await reopen();
    assert.deepEqual(await group().readChanges(one, 0, 100), expected);
    assert.deepEqual(await group().readChanges(one, 2, 3), expected.slice(2, 5));
    assert.deepEqual(await group().readChanges(one, 15, 3), []);
    assert.deepEqual(await raise(group(), one, 1), fence(0, 15, 1));
  });

  test("changes of several sessions of a shard share one numbering", async () => {
    const bob = sessionKey("demo", "bob");
    const write = shardWrite({ changes: [stored(1)] });
    const [session] = write.sessions;
    assert.ok(session);
    await group().commit([{ ...write, sessions: [session, { ...session, key: bob }, session] }]);
    assert.deepEqual(
      (await group().readChanges(one, 0, 9)).map(({ number, key }) => [number, key]),
      [
        [1, alice],
        [2, bob],
        [3, alice],
      ],
    );
  });

  test("what is not published survives, what is published is trimmed", async () => {
    const total = 3_000;
    let published = 0;
    for (let written = 0; written < total; ) {
      const count = Math.min(1 + (written % 97), total - written);
      const changes = Array.from({ length: count }, (_, at) => stored(written + at + 1));
      await group().commit([shardWrite({ changes }, { publishedChange: published })]);
      written += count;
      published = Math.max(published, written - 300);
      // Reopening in the middle must neither lose nor repeat a number.
      if (written % 5 === 0) await reopen();
    }
    // Above the last change there is nothing to be published; a lower one does nothing.
    const beyond = { shard: one, epoch: 100, sessions: [] };
    await group().commit([{ ...beyond, publishedChange: published }]);
    await group().commit([{ ...beyond, publishedChange: 5 }]);
    const kept = await group().readChanges(one, 0, total);
    assert.deepEqual(
      kept,
      Array.from({ length: total - published }, (_, at) =>
        numbered(published + at + 1, stored(published + at + 1)),
      ),
    );
    await reopen();
    assert.deepEqual(await raise(group(), one, 200), fence(0, total, 200, published));
    await group().commit([{ ...beyond, epoch: 200, publishedChange: total + 9 }]);
    assert.deepEqual(await group().readChanges(one, 0, total), []);
    assert.deepEqual(await raise(group(), one, 201), fence(0, total, 201, total));
  });

  test("the newest changes survive though nobody publishes, older ones are bounded", async () => {
    const total = 2.5 * unpublishedMax + 17;
    for (let written = 0; written < total; ) {
      const count = Math.min(2_000 + (written % 97), total - written);
      const changes = Array.from({ length: count }, (_, at) => stored(written + at + 1));
      await commit(group(), { changes });
      written += count;
    }
    await reopen();
    const kept = await group().readChanges(one, 0, total);
    assert.ok(kept.length >= unpublishedMax, `${kept.length} are kept`);
    assert.ok(kept.length <= 2.2 * unpublishedMax, `${kept.length} are kept`);
    assert.equal(kept.at(-1)?.number, total);
    for (const [at, { number }] of kept.entries()) {
      assert.equal(number, total - kept.length + at + 1);
    }
  });
}
