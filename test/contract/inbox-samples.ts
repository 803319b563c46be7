/** What the inbox contract writes and how it looks at what is stored. */
import assert from "node:assert/strict";
import type {
  Change,
  CommitAnswer,
  InboxGroup,
  NumberedChange,
  SessionRecord,
  SessionWrite,
  ShardWrite,
  StoredEntry,
} from "../../src/ports/inbox-store.js";
import { encodeMsgId } from "../../src/protocol/msg-id.js";
import { type Shard, sessionKey } from "../../src/protocol/shards.js";

export const one = 7 as Shard;
export const two = 8 as Shard;
export const alice = sessionKey("demo", "alice");

/** The group that is open now. */
export type Current = () => InboxGroup;
export type Reopen = () => Promise<void>;

export function raise(
  group: InboxGroup,
  shard: Shard,
  epoch: number,
  reserveUntilMs = 0,
  holder = "a",
) {
  return group.raise([{ shard, epoch, holder, reserveUntilMs }]).then(([answer]) => {
    assert.ok(answer, "a raise has one answer per request");
    return answer;
  });
}

export function fence(
  previousReservedUntilMs: number,
  lastChange: number,
  epoch: number,
  publishedChange = 0,
) {
  return { ok: true, value: { previousReservedUntilMs, lastChange, publishedChange }, epoch };
}

export function shardWrite(
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

export async function commit(
  group: InboxGroup,
  session: Partial<SessionWrite>,
  shard: Partial<Omit<ShardWrite, "sessions">> = {},
): Promise<CommitAnswer> {
  const [answer] = await group.commit([shardWrite(session, shard)]);
  assert.ok(answer, "a commit has one answer per write");
  return answer;
}

export async function entries(group: InboxGroup, key = alice): Promise<StoredEntry[]> {
  const read = await group.readEntries(one, key, 0, 1_000, 100_000_000);
  // Plain arrays of bytes, so that a Buffer equals a Uint8Array.
  return read.map((each) => ({ ...each, record: new Uint8Array(each.record) }));
}

export async function seqs(group: InboxGroup, key = alice): Promise<number[]> {
  return (await entries(group, key)).map(({ seq }) => seq);
}

export async function snapshot(group: InboxGroup) {
  return {
    session: await group.loadSession(one, alice),
    entries: await entries(group),
    due: await group.readDue(one, Number.MAX_SAFE_INTEGER, 100),
    changes: await group.readChanges(one, 0, 100),
  };
}

export function entry(seq: number, more: Partial<StoredEntry> = {}): StoredEntry {
  return {
    seq,
    id: encodeMsgId({ timeMs: 1_700_000_000_000, shard: one, idc: 1, sequence: seq % 65_536 }),
    expiresAtMs: 1_700_000_600_000 + seq,
    record: new Uint8Array([seq % 256, 2, 3]),
    ...more,
  };
}

export function record(lastSeq: number): SessionRecord {
  return {
    generation: 16_777_217,
    lastSeq,
    devices: [
      { id: "phone", platform: "ios", connect: 3, ackedSeq: 2, seenAtMs: 1_700_000_000_000 },
      { id: "ключ", platform: "web", connect: 2 ** 40, ackedSeq: 0, seenAtMs: 0 },
    ],
  };
}

export function idempotencyKey(id: string) {
  const msgId = encodeMsgId({ timeMs: 1_700_000_000_001, shard: one, idc: 1, sequence: 4 });
  return { id, digest: 0xfedc_ba98, msgId, seq: 12, untilMs: 1_700_000_600_000 };
}

export function byId<Item extends { readonly id: string }>(items: readonly Item[]): Item[] {
  return [...items].sort((a, b) => (a.id < b.id ? -1 : 1));
}

export function stored(seq: number): Change {
  return { kind: "stored", seq, id: entry(seq).id };
}

export function numbered(number: number, change: Change, key = alice): NumberedChange {
  return { number, key, change };
}
