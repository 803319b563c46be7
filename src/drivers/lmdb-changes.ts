/** Changes as bytes: the session's key, then the change. Several stand one after the other. */
import { assert, unreachable } from "../base/assert.js";
import { Fault } from "../base/result.js";
import type { Change, DropReason } from "../ports/inbox-store.js";
import type { MsgId } from "../protocol/msg-id.js";
import type { SessionKey } from "../protocol/shards.js";
import type { ByteReader, WriteBatch } from "./lmdb-bytes.js";

const storedCode = 1;
const ackedCode = 2;
const droppedCode = 3;
const deviceAddedCode = 4;
const deviceRemovedCode = 5;
const msgIdLength = 16;
/** Stored by index: append only. */
const dropReasons: readonly DropReason[] = ["acked", "expired", "collapsed"];

export function writeChange(batch: WriteBatch, key: SessionKey, change: Change): void {
  batch.text(key);
  switch (change.kind) {
    case "stored":
      batch.u8(storedCode).f64(change.seq).rawText(change.id);
      return;
    case "acked":
      batch.u8(ackedCode).text(change.device).f64(change.seq);
      return;
    case "dropped": {
      const reason = dropReasons.indexOf(change.reason);
      assert(reason >= 0, `a drop reason without a code: ${change.reason}`);
      batch.u8(droppedCode).u8(reason).u32(change.seqs.length);
      for (const seq of change.seqs) batch.f64(seq);
      return;
    }
    case "device-added":
      batch.u8(deviceAddedCode).text(change.device).text(change.platform);
      return;
    case "device-removed":
      batch.u8(deviceRemovedCode).text(change.device).text(change.reason);
      return;
    default:
      unreachable(change);
  }
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
    case droppedCode: {
      const reason = dropReasons[reader.u8()];
      if (reason === undefined) throw unknownCode(code);
      const seqs = Array.from({ length: reader.u32() }, () => reader.f64());
      return { kind: "dropped", seqs, reason };
    }
    case deviceAddedCode:
      return { kind: "device-added", device: reader.text(), platform: reader.text() };
    case deviceRemovedCode:
      return { kind: "device-removed", device: reader.text(), reason: reader.text() };
    default:
      throw unknownCode(code);
  }
}

function unknownCode(code: number): Fault {
  const message = `a stored change has kind ${code}, which this release does not know`;
  return new Fault("STORE_UNAVAILABLE", "not-done", message);
}
