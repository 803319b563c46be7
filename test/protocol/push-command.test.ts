/** Each field and bound of the push command, in both encodings; no bytes make it throw. */
import { deepEqual, equal, ok } from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { packValue, unpackValue } from "../../src/protocol/codec.js";
import { nestingMax } from "../../src/protocol/plain-msgpack.js";
import {
  bodyBytesMax,
  decodePushCommand,
  encodingOf,
  keyBytesMax,
  type PushCommand,
  ttlSecondsDefault,
  ttlSecondsMax,
} from "../../src/protocol/push-command.js";

const utf8 = new TextEncoder();

function encodings(map: unknown): [name: string, payload: Uint8Array][] {
  return [
    ["JSON", utf8.encode(JSON.stringify(map))],
    ["msgpack", packValue(map)],
  ];
}

function codeOf(payload: Uint8Array): string {
  const read = decodePushCommand(payload);
  return read.ok ? "accepted" : read.code;
}

function takes(map: Record<string, unknown>, fields: Partial<PushCommand>): void {
  for (const [encoding, payload] of encodings(map)) {
    const read = decodePushCommand(payload);
    ok(read.ok, `${encoding}: ${JSON.stringify(read)}`);
    const found = Object.keys(fields).map((field) => [
      field,
      read.value[field as keyof PushCommand],
    ]);
    deepEqual(Object.fromEntries(found), fields, encoding);
  }
}

function refuses(map: unknown, code: string): void {
  for (const [encoding, payload] of encodings(map)) equal(codeOf(payload), code, encoding);
}

describe("the push command", () => {
  test("has its defaults", () => {
    takes(
      { body: { text: "hi" } },
      {
        qos: 1,
        ttlSeconds: ttlSecondsDefault,
        kind: "transparent",
        priority: "normal",
        id: undefined as never,
        fallback: undefined as never,
      },
    );
  });

  test("keeps the body as msgpack, whatever it came in", () => {
    const body = { text: "grüße", list: [1, 2.5, null, true], inner: { a: -1 } };
    for (const [, payload] of encodings({ body })) {
      const read = decodePushCommand(payload);
      deepEqual(read.ok && unpackValue(read.value.body), body);
    }
  });

  for (const body of [null, false, 0, "", [], {}]) {
    test(`takes ${JSON.stringify(body)} as a body`, () => {
      takes({ body }, { qos: 1 });
    });
  }

  test("ignores unknown fields and takes null as absent", () => {
    takes({ body: 1, later: [1], ttl: null, id: null, target: null, qos: null }, { qos: 1 });
  });

  test("reads every field", () => {
    const target = { device: "d", platform: "ios" };
    const pull = { ref: "r", notBeforeMs: 5, spreadMs: 60_000 };
    const notification = { title: "t", body: "b", url: "https://example.com", badge: 3 };
    const fallback = { after: 30, channels: ["apns", "fcm"] };
    const same = { id: "k", qos: 0, collapse: "c", type: "chat", enc: "aes", kind: "notification" };
    takes(
      { body: 1, ttl: 60, priority: "high", target, pull, notification, fallback, ...same },
      {
        ...({ ...same } as Partial<PushCommand>),
        ttlSeconds: 60,
        priority: "high",
        target,
        pull,
        notification,
        fallback,
      },
    );
    takes({ body: 1, fallback: false }, { fallback: false });
  });

  test("needs a body, unless there is something to pull", () => {
    refuses({}, "BAD_COMMAND");
    takes({ pull: { ref: "r" } }, { pull: { ref: "r" } });
  });

  test("bounds the body in encoded bytes", () => {
    const overhead = 3;
    takes({ body: "x".repeat(bodyBytesMax - overhead) }, { qos: 1 });
    refuses({ body: "x".repeat(bodyBytesMax - overhead + 1) }, "BODY_TOO_LARGE");
  });

  for (const field of ["id", "collapse", "type", "enc"]) {
    test(`bounds ${field} in bytes`, () => {
      takes({ body: 1, [field]: "x".repeat(keyBytesMax) }, {});
      takes({ body: 1, [field]: "ä".repeat(keyBytesMax / 2) }, {});
      refuses({ body: 1, [field]: "x".repeat(keyBytesMax + 1) }, "BAD_COMMAND");
      refuses({ body: 1, [field]: "ä".repeat(keyBytesMax / 2 + 1) }, "BAD_COMMAND");
      refuses({ body: 1, [field]: "" }, "BAD_COMMAND");
      refuses({ body: 1, [field]: 7 }, "BAD_COMMAND");
    });
  }

  test("bounds ttl", () => {
    takes({ body: 1, ttl: 1 }, { ttlSeconds: 1 });
    takes({ body: 1, ttl: ttlSecondsMax }, { ttlSeconds: ttlSecondsMax });
    for (const ttl of [0, -1, ttlSecondsMax + 1, 1.5, "60", true, {}]) {
      refuses({ body: 1, ttl }, "BAD_COMMAND");
    }
  });

  const choices: [field: string, known: unknown[], unknown: unknown][] = [
    ["qos", [0, 1], 2],
    ["kind", ["transparent", "notification"], "other"],
    ["priority", ["high", "normal", "low"], "urgent"],
  ];
  for (const [field, known, unknown] of choices) {
    test(`takes only known values of ${field}`, () => {
      for (const value of known) takes({ body: 1, [field]: value }, { [field]: value });
      refuses({ body: 1, [field]: unknown }, "UNSUPPORTED");
      refuses({ body: 1, [field]: [] }, "BAD_COMMAND");
    });
  }

  const wrong: [what: string, fields: Record<string, unknown>][] = [
    ["a target that is no map", { target: "ios" }],
    ["a target with a number for a device", { target: { device: 1 } }],
    ["a target with too long a device", { target: { device: "d".repeat(65) } }],
    ["a pull without a ref", { pull: {} }],
    ["a pull with too long a ref", { pull: { ref: "r".repeat(1_025) } }],
    ["a pull before the epoch", { pull: { ref: "r", notBeforeMs: -1 } }],
    ["a pull spread over more than a day", { pull: { ref: "r", spreadMs: 86_400_001 } }],
    ["a notification that is no map", { notification: [] }],
    ["a notification above 4 KiB", { notification: { text: "x".repeat(4_096) } }],
    ["a notification with a number for its title", { notification: { title: 1 } }],
    ["a fallback that is true", { fallback: true }],
    ["a fallback without a time", { fallback: { channels: [] } }],
    ["a fallback without channels", { fallback: { after: 1 } }],
    ["a fallback with nine channels", { fallback: { after: 1, channels: Array(9).fill("a") } }],
    ["a fallback with a channel that is no text", { fallback: { after: 1, channels: [1] } }],
  ];
  for (const [what, fields] of wrong) {
    test(`refuses ${what}`, () => {
      refuses({ body: 1, ...fields }, "BAD_COMMAND");
    });
  }
});

describe("the bytes of a push command", () => {
  const broken: [what: string, payload: Uint8Array][] = [
    ["nothing", new Uint8Array()],
    ["JSON that is cut off", utf8.encode('{"body":1')],
    ["JSON with something behind it", utf8.encode('{"body":1}}')],
    ["a JSON list", utf8.encode("[1]")],
    ["JSON that is no UTF-8", Uint8Array.of(0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d)],
    ["plain text", utf8.encode("hello")],
    ["msgpack that is cut off", packValue({ body: "hello" }).slice(0, -1)],
    ["msgpack with something behind it", Uint8Array.of(...packValue({ body: 1 }), 0)],
    ["a msgpack list", packValue([1])],
    ["a msgpack map longer than its bytes", Uint8Array.of(0xdf, 0xff, 0xff, 0xff, 0xff)],
    ["a map for a key", Uint8Array.of(0x81, 0x80, 0x01)],
    // msgpackr would make a Date, a RegExp or a cycle of them.
    ["a msgpack extension", packValue({ body: new Date(0) })],
    ["a record definition", Uint8Array.of(0x81, 0xa1, 0x61, 0xd4, 0x72, 0x40, 0x91, 0xa1, 0x62, 1)],
  ];
  for (const [what, payload] of broken) {
    test(`are refused: ${what}`, () => {
      equal(codeOf(payload), "BAD_ENCODING");
    });
  }

  // The notification was packed outside of any try: nesting that JSON.parse takes and
  // the packer's recursion does not threw out of the decoder.
  test("are refused when they nest too deep, in any field", () => {
    const nested = (depth: number) => "[".repeat(depth) + "]".repeat(depth);
    for (const depth of [nestingMax, 10_000, 400_000]) {
      equal(codeOf(utf8.encode(`{"body":${nested(depth)}}`)), "BAD_ENCODING");
      const notification = `{"body":1,"notification":{"a":${nested(depth)}}}`;
      equal(codeOf(utf8.encode(notification)), "BAD_ENCODING");
    }
    const deepest: unknown = JSON.parse(nested(nestingMax - 1));
    takes({ body: deepest }, {});
    refuses({ body: [deepest] }, "BAD_ENCODING");
  });

  test("tell the encoding of the answer", () => {
    equal(encodingOf(utf8.encode(' {"body":1}')), "json");
    equal(encodingOf(packValue({ body: 1 })), "msgpack");
    equal(encodingOf(new Uint8Array()), "msgpack");
  });

  test("never make it throw, whatever they are", () => {
    const starts = fc.constantFrom(
      [],
      [0x7b],
      [0x81],
      [0xde, 0, 1],
      [0x81, 0xa4, 98, 111, 100, 121],
    );
    fc.assert(
      fc.property(starts, fc.uint8Array({ maxLength: 48 }), (start, rest) => {
        decodePushCommand(Uint8Array.of(...start, ...rest));
      }),
      { numRuns: 10_000 },
    );
  });

  test("never make it throw, whatever values the fields have", () => {
    const fields = ["body", "id", "qos", "ttl", "target", "pull", "notification", "fallback"];
    const map = fc.dictionary(fc.constantFrom(...fields), fc.jsonValue());
    fc.assert(
      fc.property(map, (command) => {
        for (const [, payload] of encodings(command)) decodePushCommand(payload);
      }),
      { numRuns: 3_000 },
    );
  });

  test("say the same in both encodings", () => {
    const map = fc.dictionary(
      fc.constantFrom("body", "id", "qos", "ttl", "target"),
      fc.jsonValue(),
    );
    fc.assert(
      fc.property(map, (command) => {
        const [json, msgpack] = encodings(command).map(([, payload]) => codeOf(payload));
        equal(json, msgpack);
      }),
      { numRuns: 2_000 },
    );
  });
});
