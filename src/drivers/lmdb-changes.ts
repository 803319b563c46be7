/** Changes as bytes: the session's key, then the change. Several stand one after the other. */
import { assert, unreachable } from "../base/assert.js";
import { Fault } from "../base/result.js";
import type { Change, DropReason, Presence } from "../ports/inbox-store.js";
import type { MsgId } from "../protocol/msg-id.js";
import type { SessionKey } from "../protocol/shards.js";
import type { ByteReader, WriteBatch } from "./lmdb-bytes.js";

const storedCode = 1;
const ackedCode = 2;
const droppedCode = 3;
const deviceAddedCode = 4;
const deviceRemovedCode = 5;
const ackedIdsCode = 6;
const droppedIdsCode = 7;
const announcedCode = 8;
const erasedCode = 9;
const openedCode = 10;
const msgIdLength = 16;
/** Stored by index: append only. */
const dropReasons: readonly DropReason[] = [
  "acked",
  "expired",
  "collapsed",
  "bound",
  "set-aside",
  "recalled",
  "abandoned",
];
/** Likewise; also a session's record has it (lmdb-records.ts). */
export const presences: readonly Presence[] = ["offline", "online", "foreground", "background"];

export function writeChange(batch: WriteBatch, key: SessionKey, change: Change): void {
  batch.text(key);
  switch (change.kind) {
    case "stored":
      batch.u8(storedCode).f64(change.seq).rawText(change.id);
      return;
    case "acked":
      batch.u8(change.ids === undefined ? ackedCode : ackedIdsCode);
      batch.text(change.device).f64(change.seq);
      if (change.ids !== undefined) writeIds(batch.u32(change.ids.length), change.ids);
      return;
    case "dropped": {
      const reason = dropReasons.indexOf(change.reason);
      assert(reason >= 0, `a drop reason without a code: ${change.reason}`);
      const { seqs, ids } = change;
      assert(ids === undefined || ids.length === seqs.length, "an id for each dropped seq");
      batch
        .u8(ids === undefined ? droppedCode : droppedIdsCode)
        .u8(reason)
        .u32(seqs.length);
      for (const seq of seqs) batch.f64(seq);
      if (ids !== undefined) writeIds(batch, ids);
      return;
    }
    case "device-added":
      batch.u8(deviceAddedCode).text(change.device).text(change.platform);
      return;
    case "device-removed":
      batch.u8(deviceRemovedCode).text(change.device).text(change.reason);
      return;
    case "announced":
      batch.u8(announcedCode).u8(presences.indexOf(change.presence));
      return;
    case "erased":
      batch.u8(erasedCode);
      return;
    case "opened":
      batch.u8(openedCode).text(change.device).rawText(change.id);
      return;
    default:
      unreachable(change);
  }
}

function writeIds(batch: WriteBatch, ids: readonly MsgId[]): void {
  for (const id of ids) batch.rawText(id);
}

function readIds(reader: ByteReader, count: number): MsgId[] {
  return Array.from({ length: count }, () => reader.rawText(msgIdLength) as MsgId);
}

export function readChange(reader: ByteReader): { key: SessionKey; change: Change } {
  const key = reader.text() as SessionKey;
  return { key, change: readBody(reader) };
}

function readBody(reader: ByteReader): Change {
  const code = reader.u8();
  switch (code) {
    case storedCode:
      return { kind: "stored", seq: reader.f64(), id: reader.rawText(msgIdLength) as MsgId };
    case ackedCode:
      return { kind: "acked", device: reader.text(), seq: reader.f64() };
    case ackedIdsCode: {
      const device = reader.text();
      const seq = reader.f64();
      return { kind: "acked", device, seq, ids: readIds(reader, reader.u32()) };
    }
    case droppedCode:
    case droppedIdsCode: {
      const reason = dropReasons[reader.u8()];
      if (reason === undefined) throw unknownCode(code);
      const seqs = Array.from({ length: reader.u32() }, () => reader.f64());
      const ids = code === droppedIdsCode ? { ids: readIds(reader, seqs.length) } : {};
      return { kind: "dropped", seqs, reason, ...ids };
    }
    case deviceAddedCode:
      return { kind: "device-added", device: reader.text(), platform: reader.text() };
    case deviceRemovedCode:
      return { kind: "device-removed", device: reader.text(), reason: reader.text() };
    case announcedCode: {
      const presence = presences[reader.u8()];
      if (presence === undefined) throw unknownCode(code);
      return { kind: "announced", presence };
    }
    case erasedCode:
      return { kind: "erased" };
    case openedCode:
      return { kind: "opened", device: reader.text(), id: reader.rawText(msgIdLength) as MsgId };
    default:
      throw unknownCode(code);
  }
}

function unknownCode(code: number): Fault {
  const message = `a stored change has kind ${code}, which this release does not know`;
  return new Fault("STORE_UNAVAILABLE", "not-done", message);
}
