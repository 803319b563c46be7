/** The pure parts of the benches' load: its own bytes and its own check of what arrived. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { ArrivalCheck, countLost } from "../../bench/load/arrival-check.js";
import { readUnsigned, unsignedBytes } from "../../bench/load/belfry-device.js";
import { bodyBytes, bodyOf, newCommand, readBody, writeBody } from "../../bench/load/body.js";
import { greetings } from "../../bench/load/greeted-device.js";
import { clientFrame, frameSize, refusalIn } from "../../bench/load/lean-websocket.js";
import { returnsOf } from "../../bench/load/returns.js";
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

test("counts as lost what was accepted and did not come, whatever else came", () => {
  const check = new ArrivalCheck();
  // Of user 0, 2 is missing and 5 was not sent on; 4 came though nobody knows its fate.
  for (const number of [1, 3, 4]) check.note(0, number);
  for (const number of [1, 2]) check.note(1, number);
  const sent = Uint32Array.of(5, 3, 1);
  const all = { sent, notAccepted: [] };
  assert.equal(countLost(all, check.arrived), 4);
  const some = [
    [0, 4],
    [0, 5],
    [1, 3],
  ] as const;
  assert.equal(countLost({ sent, notAccepted: some }, check.arrived), 2);
  assert.equal(countLost({ sent, notAccepted: [...some, [0, 2], [2, 1]] }, check.arrived), 0);
});

test("tells when clients were back, and how fast without the first and the last tenth", () => {
  // One each 10 ms, and one that is late.
  const backMs = [...Array.from({ length: 99 }, (_, at) => (at + 1) * 10), 9_000];
  const { count, halfS, ninetyS, allS, perSecond } = returnsOf(backMs.reverse());
  assert.deepEqual(
    { count, halfS, ninetyS, allS },
    { count: 100, halfS: 0.5, ninetyS: 0.9, allS: 9 },
  );
  assert.equal(Math.round(perSecond), 100);
});

test("reads how long a refusal asks to stay away", () => {
  const head = "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nConnection: close\r\n";
  const reason = "HTTP/1.1 503 Service Unavailable";
  assert.deepEqual(refusalIn(head), { code: 1006, reason, retryAfter: "5" });
  assert.deepEqual(refusalIn("HTTP/1.1 403 Forbidden\r\n"), {
    ...{ code: 1006, reason: "HTTP/1.1 403 Forbidden" },
  });
});

test("says its token as the servers that are compared with want it", () => {
  assert.deepEqual(greetings.token(undefined, "t"), { say: "t" });
  assert.equal(greetings.token("welcome", "t"), "served");
  assert.equal(greetings.socketio(undefined, "t"), undefined);
  assert.deepEqual(greetings.socketio('0{"sid":"a"}', "t"), { say: '40{"token":"t"}' });
  assert.equal(greetings.socketio("2", "t"), undefined);
  assert.equal(greetings.socketio('40{"sid":"b"}', "t"), "served");
  assert.equal(greetings.socketio('44{"message":"UNAUTHORIZED"}', "t"), "refused");
});
