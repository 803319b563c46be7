/**
 * The values of a volume. Each begins with the version of its layout; a newer one is
 * refused and not guessed at, and bytes behind the known fields are ignored, so that
 * a later release can add to the end.
 */
import { Fault } from "../base/result.js";
import type {
  DeviceRecord,
  EntrySummary,
  IdempotencyKey,
  SessionRecord,
  StoredEntry,
} from "../ports/inbox-store.js";
import type { MsgId } from "../protocol/msg-id.js";
import type { Target } from "../protocol/push-command.js";
import { ByteReader, type WriteBatch } from "./lmdb-bytes.js";
import { presences } from "./lmdb-changes.js";

const version = 1;
const msgIdLength = 16;
const hasCollapse = 1;
const hasTarget = 2;
const hasTargetDevice = 4;
const hasTargetPlatform = 8;

export function startVersioned(batch: WriteBatch): WriteBatch {
  return batch.startValue().u8(version);
}

export function readVersioned(bytes: Uint8Array): ByteReader {
  if (bytes[0] === version) return new ByteReader(bytes, 1);
  const message = `a stored record has layout ${bytes[0]}, this release reads ${version}`;
  throw new Fault("STORE_UNAVAILABLE", "not-done", message);
}

/** For what its key says all of: a version and no more. */
export function putNothing(batch: WriteBatch): void {
  startVersioned(batch).endPut();
}

export interface StoredFence {
  readonly epoch: number;
  readonly reservedUntilMs: number;
  /** Empty in a fence from before holders were stored: nobody is that. */
  readonly holder: string;
}

export function putFence(batch: WriteBatch, fence: StoredFence): void {
  startVersioned(batch).f64(fence.epoch).f64(fence.reservedUntilMs).text(fence.holder).endPut();
}

export function readFence(bytes: Uint8Array): StoredFence {
  const reader = readVersioned(bytes);
  const epoch = reader.f64();
  const reservedUntilMs = reader.f64();
  return { epoch, reservedUntilMs, holder: reader.isAtEnd ? "" : reader.text() };
}

export function putGenerationFloor(batch: WriteBatch, floor: number): void {
  startVersioned(batch).f64(floor).endPut();
}

/** 0 where the volume was never restored. */
export function readGenerationFloor(bytes: Uint8Array | undefined): number {
  return bytes === undefined ? 0 : readVersioned(bytes).f64();
}

export function putPublished(batch: WriteBatch, number: number): void {
  startVersioned(batch).f64(number).endPut();
}

export function readPublished(bytes: Uint8Array): number {
  return readVersioned(bytes).f64();
}

export function putDroppedSeq(batch: WriteBatch, seq: number): void {
  startVersioned(batch).f64(seq).endPut();
}

export function readDroppedSeq(bytes: Uint8Array): number {
  return readVersioned(bytes).f64();
}

export function putSessionRecord(batch: WriteBatch, record: SessionRecord): void {
  startVersioned(batch).f64(record.generation).f64(record.lastSeq).u16(record.devices.length);
  for (const { id, platform, connect, ackedSeq, seenAtMs } of record.devices) {
    batch.text(id).text(platform).f64(connect).f64(ackedSeq).f64(seenAtMs);
  }
  for (const { attempts = 0, triedSeq = 0 } of record.devices) batch.f64(attempts).f64(triedSeq);
  batch.u8(presences.indexOf(record.announced ?? "offline")).endPut();
}

export function readSessionRecord(bytes: Uint8Array): SessionRecord {
  const reader = readVersioned(bytes);
  const generation = reader.f64();
  const lastSeq = reader.f64();
  const devices: DeviceRecord[] = [];
  for (let count = reader.u16(); count > 0; count--) {
    devices.push({
      id: reader.text(),
      platform: reader.text(),
      connect: reader.f64(),
      ackedSeq: reader.f64(),
      seenAtMs: reader.f64(),
    });
  }
  // Records of before end here.
  if (reader.isAtEnd) return { generation, lastSeq, devices };
  for (const [index, device] of devices.entries()) {
    const attempts = reader.f64();
    const triedSeq = reader.f64();
    if (attempts > 0) devices[index] = { ...device, attempts, triedSeq };
  }
  const announced = presences[reader.u8()];
  if (announced === undefined || announced === "offline") return { generation, lastSeq, devices };
  return { generation, lastSeq, devices, announced };
}

/** The seq is in the key. The message's bytes come last and are not measured. */
export function putEntry(batch: WriteBatch, entry: StoredEntry): void {
  const { collapse, target } = entry;
  const flags =
    (collapse === undefined ? 0 : hasCollapse) |
    (target === undefined ? 0 : hasTarget) |
    (target?.device === undefined ? 0 : hasTargetDevice) |
    (target?.platform === undefined ? 0 : hasTargetPlatform);
  startVersioned(batch).u8(flags).f64(entry.expiresAtMs).rawText(entry.id);
  if (collapse !== undefined) batch.text(collapse);
  if (target?.device !== undefined) batch.text(target.device);
  if (target?.platform !== undefined) batch.text(target.platform);
  batch.raw(entry.record).endPut();
}

export function readEntry(seq: number, bytes: Uint8Array): StoredEntry {
  const reader = readVersioned(bytes);
  const flags = reader.u8();
  const expiresAtMs = reader.f64();
  const id = reader.rawText(msgIdLength) as MsgId;
  const collapse = flags & hasCollapse ? { collapse: reader.text() } : {};
  const target = flags & hasTarget ? { target: readTarget(flags, reader) } : {};
  return { seq, id, expiresAtMs, ...collapse, ...target, record: reader.rest() };
}

export function readEntrySummary(seq: number, bytes: Uint8Array): EntrySummary {
  const { id, expiresAtMs, collapse, target, record } = readEntry(seq, bytes);
  return {
    seq,
    id,
    bytes: record.length,
    expiresAtMs,
    ...(collapse === undefined ? {} : { collapse }),
    ...(target === undefined ? {} : { target }),
  };
}

function readTarget(flags: number, reader: ByteReader): Target {
  return {
    ...(flags & hasTargetDevice ? { device: reader.text() } : {}),
    ...(flags & hasTargetPlatform ? { platform: reader.text() } : {}),
  };
}

export function putIdempotencyKey(batch: WriteBatch, key: IdempotencyKey): void {
  startVersioned(batch).f64(key.digest).f64(key.seq).f64(key.untilMs).rawText(key.msgId).endPut();
}

export function readIdempotencyKey(id: string, bytes: Uint8Array): IdempotencyKey {
  const reader = readVersioned(bytes);
  const digest = reader.f64();
  const seq = reader.f64();
  const untilMs = reader.f64();
  return { id, digest, msgId: reader.rawText(msgIdLength) as MsgId, seq, untilMs };
}
