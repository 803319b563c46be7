/** Sessions as the copy in Redis has them (redis-scripts.ts says in which keys). */
import { Fault } from "../base/result.js";
import type { StoredEntry } from "../ports/inbox-store.js";
import type { NetSession } from "./net-writes.js";
import type { ScriptArgument } from "./redis-client.js";
import { noParts, type SessionParts } from "./session-parts.js";
import {
  packHead,
  packKey,
  packRecord,
  readEntry,
  readKey,
  readRecord,
  readSummary,
} from "./stored-bytes.js";

const frontBytes = 10;

export function packEntry(entry: StoredEntry): Buffer {
  const head = packHead(entry);
  const packed = Buffer.allocUnsafe(frontBytes + head.length + entry.record.length);
  packed.writeDoubleBE(entry.seq, 0);
  packed.writeUInt16BE(head.length, 8);
  packed.set(head, frontBytes);
  packed.set(entry.record, frontBytes + head.length);
  return packed;
}

/** Throws Fault("STORE_CORRUPT", "not-done") like all that read here. */
export function unpackEntry(packed: Buffer): StoredEntry {
  const { seq, head, end } = frontOf(packed);
  return readEntry(seq, head, packed.subarray(end));
}

function frontOf(packed: Buffer) {
  if (packed.length < frontBytes) throw corrupt("an entry is cut short");
  const end = frontBytes + packed.readUInt16BE(8);
  if (packed.length < end) throw corrupt("an entry is cut short");
  return { seq: packed.readDoubleBE(0), head: packed.subarray(frontBytes, end), end };
}

/** A session's fields, then its entries, as `fillScript` takes them. */
export function fillArguments(
  { record, droppedSeq, keys }: SessionParts,
  entries: readonly StoredEntry[],
): ScriptArgument[] {
  const fields: ScriptArgument[] = ["d", droppedSeq];
  if (record !== undefined) fields.push("r", packRecord(record));
  for (const key of keys) fields.push(Buffer.from(`k${key.id}`, "utf8"), packKey(key));
  return [fields.length / 2, ...fields, ...entries.flatMap((each) => [each.seq, packEntry(each)])];
}

/** What a transaction did to a session, as `advanceScript` takes it. */
export function advanceArguments(net: NetSession): ScriptArgument[] {
  const dropped = [...net.dropped].filter((seq) => !net.appended.has(seq));
  const forgotten = [...net.forgotten].filter((id) => !net.remembered.has(id));
  const appended = [...net.appended.values()];
  const remembered = [...net.remembered.values()];
  return [
    Number(net.isRemoved),
    dropped.length,
    ...dropped,
    appended.length,
    ...appended.flatMap((entry) => [entry.seq, packEntry(entry)]),
    forgotten.length,
    ...forgotten.map((id) => Buffer.from(id, "utf8")),
    remembered.length,
    ...remembered.flatMap((key) => [Buffer.from(key.id, "utf8"), packKey(key)]),
    net.record === undefined ? "" : packRecord(net.record),
    net.droppedSeq,
  ];
}

/** From the answer of `loadScript`: the hash and the entries' fronts. */
export function partsOf(
  hash: readonly Buffer[],
  fronts: readonly (Buffer | number)[],
): SessionParts {
  const parts = noParts();
  for (let at = 0; at + 1 < hash.length; at += 2) {
    const field = hash[at] as Buffer;
    const value = hash[at + 1] as Buffer;
    const name = String.fromCharCode(field[0] ?? 0);
    if (name === "r") parts.record = readRecord(value);
    else if (name === "d") parts.droppedSeq = Number(value.toString("latin1"));
    else if (name === "k") parts.keys.push(readKey(field.toString("utf8", 1), value));
  }
  for (let at = 0; at + 1 < fronts.length; at += 2) {
    const { seq, head } = frontOf(fronts[at] as Buffer);
    parts.entries.push(readSummary(seq, head, fronts[at + 1] as number));
  }
  return parts;
}

function corrupt(message: string): Fault {
  return new Fault("STORE_CORRUPT", "not-done", `in the copy in Redis ${message}`);
}
