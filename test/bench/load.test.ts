/** The pure parts of the benches' load: its own bytes and its own check of what arrived. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { ArrivalCheck } from "../../bench/load/arrival-check.js";
import { readUnsigned, unsignedBytes } from "../../bench/load/belfry-device.js";
import { bodyBytes, bodyOf, newCommand, readBody, writeBody } from "../../bench/load/body.js";
import { clientFrame, frameSize } from "../../bench/load/lean-websocket.js";
import { messageFrame } from "../../src/protocol/frames.js";
import { packRecord } from "../../src/protocol/message-record.js";
import type { MsgId } from "../../src/protocol/msg-id.js";
import { decodePushCommand } from "../../src/protocol/push-command.js";

test("its command is a push whose frame ends with the body", () => {
  const bytes = newCommand();
  writeBody(bytes, 7, 3, 12_345.5);
  const command = decodePushCommand(bytes);
  assert.ok(command.ok);
  const record = packRecord("0123456789ABCDEF" as MsgId, command.value);
  const frame = messageFrame(0, 1_767_225_600_123, 70_000, 69_999, record, false);
  const body = bodyOf(Buffer.from(frame));
  assert.equal(body.length, bodyBytes);
  assert.deepEqual(readBody(body), { user: 7, number: 3, dueMs: 12_345.5 });
});

test("reads the numbers of a frame as the platform writes them", () => {
  for (const value of [0, 127, 128, 255, 256, 65_535, 65_536, 2 ** 32 - 1, 2 ** 32, 2 ** 45]) {
    const frame = Buffer.from(messageFrame(0, value, value + 1, value, new Uint8Array(3), false));
    const seqAt = 3 + unsignedBytes(frame, 3);
    const prevAt = seqAt + unsignedBytes(frame, seqAt);
    assert.equal(readUnsigned(frame, 3), value);
    assert.equal(readUnsigned(frame, seqAt), value + 1);
    assert.equal(readUnsigned(frame, prevAt), value);
    assert.equal(prevAt + unsignedBytes(frame, prevAt), frame.length - 3);
  }
});

test("finds what was lost, doubled and out of order", () => {
  const check = new ArrivalCheck();
  for (const number of [1, 2, 2, 5, 4, 6]) check.note(0, number);
  check.note(1, 1);
  assert.deepEqual(check.counts(), { unique: 6, doubled: 1, outOfOrder: 1, missing: 1 });
});

test("frames its payloads as RFC 6455 has them", () => {
  for (const length of [0, 125, 126, 65_535]) {
    const frame = clientFrame(new Uint8Array(length).fill(1));
    const { headBytes, payloadBytes } = frameSize(frame, 0);
    assert.equal(payloadBytes, length);
    // A client's frame carries four more bytes: the mask.
    assert.equal(frame.length, headBytes + 4 + length);
    assert.equal((frame[1] ?? 0) & 0x80, 0x80);
  }
});

test("waits for the rest of a head that came in two pieces", () => {
  const frame = clientFrame(new Uint8Array(300));
  assert.equal(frameSize(frame.subarray(0, 3), 0).headBytes, 0);
});
