/** What is measured of inboxes equals what is stored, whatever is committed during a round. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { InboxUsage } from "../../actors/inbox-usage.js";
import type { InboxGroup, SessionSize } from "../../src/ports/inbox-store.js";
import { appOfKey, type SessionKey, type Shard } from "../../src/protocol/shards.js";

const shards = [3, 4, 5] as readonly number[] as readonly Shard[];

/** Sizes of sessions by shard and key; lists them as a store does. */
class Sizes {
  private readonly byShard = new Map(
    shards.map((shard) => [shard, new Map<string, SessionSize>()]),
  );

  change(shard: Shard, key: SessionKey, bytes: number, messages: number): void {
    const sizes = this.byShard.get(shard);
    const old = sizes?.get(key) ?? { key, bytes: 0, messages: 0 };
    const next = { key, bytes: old.bytes + bytes, messages: old.messages + messages };
    if (next.messages === 0) sizes?.delete(key);
    else sizes?.set(key, next);
  }

  messagesOf(shard: Shard, key: SessionKey): SessionSize | undefined {
    return this.byShard.get(shard)?.get(key);
  }

  totals(app: string) {
    const all = shards.flatMap((shard) => [...(this.byShard.get(shard)?.values() ?? [])]);
    const own = all.filter(({ key }) => appOfKey(key) === app);
    return {
      bytes: own.reduce((sum, { bytes }) => sum + bytes, 0),
      messages: own.reduce((sum, { messages }) => sum + messages, 0),
      users: own.length,
    };
  }

  get group(): InboxGroup {
    const listSessions: InboxGroup["listSessions"] = async (shard, afterKey, countMax) => {
      const sizes = [...(this.byShard.get(shard)?.values() ?? [])];
      const above = sizes.filter(({ key }) => key > afterKey);
      return above.sort((a, b) => (a.key < b.key ? -1 : 1)).slice(0, countMax);
    };
    return { listSessions } as InboxGroup;
  }
}

const step = fc.oneof(
  { weight: 4, arbitrary: fc.tuple(fc.nat(2), fc.nat(150), fc.integer({ min: 1, max: 900 })) },
  { weight: 1, arbitrary: fc.constant("look" as const) },
);

test("measures what is stored, also when a round and commits go on at once", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 400 }), async (steps) => {
      const sizes = new Sizes();
      const usage = new InboxUsage(1);
      const before = { key: "a.before" as SessionKey, shard: shards[0] as Shard };
      sizes.change(before.shard, before.key, 100, 1);
      usage.opened(0, sizes.group, shards);
      for (const each of steps) {
        if (each === "look") {
          await usage.look();
          continue;
        }
        const [at, user, bytes] = each;
        const shard = shards[at] as Shard;
        const key = `${user % 3 === 0 ? "b" : "a"}.u${user}` as SessionKey;
        const held = sizes.messagesOf(shard, key);
        // Every third change empties the inbox, as acks do.
        const [addedBytes, added] =
          held !== undefined && bytes % 3 === 0 ? [-held.bytes, -held.messages] : [bytes, 1];
        sizes.change(shard, key, addedBytes, added);
        usage.noteCommitted(0, shard, key, addedBytes, added);
      }
      const rounds = usage.rounds;
      // The round under way began before some of it, the next after all of it.
      while (usage.rounds < rounds + 1) await usage.look();
      const { users: _users, ...first } = usage.of("a") ?? { bytes: 0, messages: 0, users: 0 };
      const { users: _all, ...truth } = sizes.totals("a");
      assert.deepEqual(first, truth);
      while (usage.rounds < rounds + 2) await usage.look();
      for (const app of ["a", "b"]) {
        const measured = usage.of(app) ?? { bytes: 0, messages: 0, users: 0 };
        assert.deepEqual(measured, sizes.totals(app));
      }
      usage.closed(0);
      assert.equal(usage.of("a"), undefined);
    }),
    { numRuns: 60 },
  );
});

// Of sessions with large messages a listing read as many as of small ones: 64 MB in one turn.
test("asks for no more bytes at a time than a listing may have, and counts all of them", async () => {
  const megabyte = 1024 * 1024;
  const listed: SessionSize[] = Array.from({ length: 40 }, (_, at) => ({
    key: `a.u${String(at).padStart(2, "0")}` as SessionKey,
    messages: 1,
    bytes: at < 30 ? 10 : megabyte,
  }));
  const asked: (number | undefined)[] = [];
  let most = 0;
  const inbox = {
    listSessions: async (_shard, afterKey, countMax, bytesMax) => {
      asked.push(bytesMax);
      const given: SessionSize[] = [];
      let bytes = 0;
      for (const size of listed) {
        if (size.key <= afterKey) continue;
        if (given.length === countMax || bytes > (bytesMax ?? 0)) break;
        given.push(size);
        bytes += size.bytes;
      }
      most = Math.max(most, bytes);
      return given;
    },
  } as Partial<InboxGroup> as InboxGroup;
  const usage = new InboxUsage();
  usage.opened(0, inbox, [shards[0] as Shard]);
  while (usage.rounds < 1) await usage.look();
  assert.deepEqual(usage.of("a"), {
    bytes: 300 + 10 * megabyte,
    messages: 40,
    users: 40,
  });
  assert.ok(asked.every((bytesMax) => bytesMax === megabyte));
  assert.ok(most <= 3 * megabyte, `${most} bytes in one listing`);
});
