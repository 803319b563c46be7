/** A record gives back what was packed, and is three values one after the other. */
import { deepEqual, equal } from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { packValue, unpackValues } from "../../src/protocol/codec.js";
import { packRecord, unpackRecord } from "../../src/protocol/message-record.js";
import type { MsgId } from "../../src/protocol/msg-id.js";
import { decodePushCommand, type PushCommand } from "../../src/protocol/push-command.js";

const id = "0DGZRG3G80100001" as MsgId;

function command(map: Record<string, unknown>): PushCommand {
  const read = decodePushCommand(packValue(map));
  if (!read.ok) throw new Error(read.message);
  return read.value;
}

describe("a message record", () => {
  test("has no head when there is nothing to say beside the body", () => {
    const record = packRecord(id, command({ body: "hi" }));
    deepEqual(unpackValues(record), [id, null, "hi"]);
    deepEqual(unpackRecord(record), { id, head: null, body: "hi" });
  });

  test("says in its head what a client is to know, and only that", () => {
    const shown = {
      type: "chat",
      kind: "notification",
      notification: { title: "t" },
      enc: "aes",
      pull: { ref: "r" },
    };
    const hidden = { id: "key", ttl: 9, collapse: "c", priority: "low", target: { device: "d" } };
    const record = packRecord(id, command({ body: 1, ...shown, ...hidden }));
    deepEqual(unpackRecord(record), { id, head: shown, body: 1 });
  });

  test("has the bytes that msgpack gives its three values", () => {
    const push = command({ body: { text: "hello" }, type: "chat" });
    const expected = [id, { type: "chat" }, { text: "hello" }].map((value) => packValue(value));
    deepEqual(Buffer.from(packRecord(id, push)), Buffer.concat(expected));
  });

  test("shares its bytes with nobody", () => {
    const record = packRecord(id, command({ body: "hi" }));
    equal(record.buffer.byteLength, record.length);
  });

  test("gives back every body", () => {
    fc.assert(
      fc.property(fc.json(), (text) => {
        const body: unknown = JSON.parse(text);
        fc.pre(!text.includes("__proto__"));
        // JSON has a negative zero, msgpack's integers do not.
        const { body: read } = unpackRecord(packRecord(id, command({ body })));
        equal(JSON.stringify(read), JSON.stringify(body));
      }),
    );
  });
});
