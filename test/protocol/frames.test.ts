/** The frames hold to docs/protocol-vectors.json, and nothing from outside makes them throw. */
import { deepEqual, equal, ok } from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, test } from "node:test";
import fc from "fast-check";
import { decodeServerFrame } from "../../src/client/server-frames.js";
import { closeCodes } from "../../src/protocol/close-codes.js";
import { concatBytes, packValue, unpackValue } from "../../src/protocol/codec.js";
import {
  answerFrame,
  attachedFrame,
  type ClientFrame,
  decodeClientFrame,
  deviceBytesMax,
  encodeFrame,
  endedFrame,
  messageFrame,
  passingFrame,
  pingFrame,
  recalledFrame,
  refusedFrame,
  tokenWantedFrame,
  welcomeFrame,
} from "../../src/protocol/frames.js";
import { projectFile } from "./project-file.js";

interface Forms {
  readonly name: string;
  readonly msgpack?: string;
  readonly json?: string;
}
interface Vectors {
  readonly client: readonly (Forms & { readonly reads: ClientFrame })[];
  readonly refused: readonly (Forms & { readonly close: { name: string; code: number } })[];
  readonly server: readonly (Forms & { readonly reads: Record<string, unknown> })[];
}

const vectors = JSON.parse(
  readFileSync(projectFile("docs/protocol-vectors.json"), "utf8"),
) as Vectors;

const utf8 = new TextEncoder();

/** Both forms of a vector, as an edge gets them. */
function inbound({ msgpack, json }: Forms): [Uint8Array, boolean][] {
  const forms: [Uint8Array, boolean][] = [];
  if (msgpack !== undefined) forms.push([Buffer.from(msgpack, "hex"), false]);
  if (json !== undefined) forms.push([utf8.encode(json), true]);
  ok(forms.length > 0, "a vector has a form");
  return forms;
}

describe("frames from a client", () => {
  for (const vector of vectors.client) {
    test(`reads ${vector.name}`, () => {
      for (const [bytes, isText] of inbound(vector)) {
        deepEqual(decodeClientFrame(bytes, isText), { ok: true, value: vector.reads });
      }
    });
  }

  for (const vector of vectors.refused) {
    test(`refuses ${vector.name} as ${vector.close.name}`, () => {
      const { name, code } = vector.close;
      equal(closeCodes[name as keyof typeof closeCodes].code, code);
      for (const [bytes, isText] of inbound(vector)) {
        const read = decodeClientFrame(bytes, isText);
        equal(read.ok ? "accepted" : read.code, name);
      }
    });
  }

  test("bounds a device's name in bytes, not in characters", () => {
    const read = (device: string) =>
      decodeClientFrame(packValue([1, { v: 1, token: "t", device }]), false).ok;
    equal(read("é".repeat(deviceBytesMax / 2)), true);
    equal(read(`${"é".repeat(deviceBytesMax / 2)}d`), false);
  });

  test("never throws, whatever the bytes", () => {
    const bytes = fc.uint8Array({ maxLength: 64 });
    fc.assert(
      fc.property(bytes, fc.boolean(), (frame, isText) => {
        decodeClientFrame(frame, isText);
      }),
      { numRuns: 5_000 },
    );
  });

  test("never throws on a good frame with some bytes changed", () => {
    const good = vectors.client.map(({ msgpack }) => Buffer.from(msgpack ?? "", "hex"));
    const change = fc.record({ at: fc.nat(200), to: fc.nat(255) });
    fc.assert(
      fc.property(
        fc.constantFrom(...good),
        fc.array(change, { minLength: 1, maxLength: 4 }),
        (frame, changes) => {
          const changed = Uint8Array.from(frame);
          for (const { at, to } of changes) changed[at % changed.length] = to;
          decodeClientFrame(changed, false);
        },
      ),
      { numRuns: 5_000 },
    );
  });

  test("never throws on any value where a frame is due", () => {
    fc.assert(
      fc.property(fc.anything({ withBigInt: false }), fc.nat(40), (value, kind) => {
        for (const frame of [value, [kind, value], [kind, value, value, value]]) {
          decodeClientFrame(packValue(frame), false);
          decodeClientFrame(utf8.encode(JSON.stringify(frame) ?? ""), true);
        }
      }),
      { numRuns: 1_000 },
    );
  });
});

const generation = 1_048_577;
const built: Record<string, unknown[]> = {
  welcome: welcomeFrame({
    v: 1,
    node: "a-n1",
    connection: 65_537,
    heartbeatMs: 30_000,
    frameBytesMax: 65_536,
    serverTimeMs: 1_760_000_000_000,
  }),
  attached: attachedFrame(
    0,
    { generation, seq: 41 },
    { app: "demo", uid: "alice", device: "phone-7", tokenExpiresAt: 1_760_003_600 },
  ),
  ping: pingFrame(7),
  refused: refusedFrame(0, "UNAUTHORIZED", "the token is for somebody else"),
  tokenWanted: tokenWantedFrame(0, 60_000),
  recalled: recalledFrame(0, ["0DGZRG3G80100001"]),
  ended: endedFrame(2, 4505, "REPLACED"),
  answer: answerFrame(0, 3, null, { total: 41 }),
  "answer that is a refusal": answerFrame(0, 3, "NO_SERVICE", "nobody takes it"),
};

/** A record as `packRecord` lays it out, of any values. */
function record(id: string, head: unknown, body: unknown): Uint8Array {
  return concatBytes([packValue(id), packValue(head), packValue(body)]);
}

describe("frames to a client", () => {
  for (const [name, frame] of Object.entries(built)) {
    test(`writes ${name} as the vector has it`, () => {
      const vector = vectors.server.find((candidate) => candidate.name === name);
      equal(Buffer.from(encodeFrame(frame, false)).toString("hex"), vector?.msgpack);
      equal(Buffer.from(encodeFrame(frame, true)).toString(), vector?.json);
    });
  }

  for (const vector of vectors.server) {
    const { kind } = vector.reads;
    if (kind !== "message" && kind !== "passing") continue;
    test(`writes ${vector.name} as the vector has it`, () => {
      const fields = unpackValue(Buffer.from(vector.msgpack ?? "", "hex")) as unknown[];
      const [id, head, body] = fields.slice(-3);
      const bytes = record(id as string, head, body);
      const [, session, gen, seq, prev] = fields as number[];
      for (const isText of [false, true]) {
        const frame: Uint8Array =
          kind === "message"
            ? messageFrame(session ?? 0, gen ?? 0, seq ?? 0, prev ?? 0, bytes, isText)
            : passingFrame(session ?? 0, bytes, isText);
        const form: string = isText
          ? Buffer.from(frame).toString()
          : Buffer.from(frame).toString("hex");
        equal(form, isText ? vector.json : vector.msgpack);
      }
    });
  }

  test("splices a record into what packing the whole array gives", () => {
    const number = fc.nat(2 ** 32 - 1);
    fc.assert(
      fc.property(number, number, number, number, fc.json(), (session, gen, seq, prev, text) => {
        const body: unknown = JSON.parse(text);
        const spliced = messageFrame(session, gen, seq, prev, record("ID", null, body), false);
        deepEqual(
          Buffer.from(spliced),
          Buffer.from(packValue([18, session, gen, seq, prev, "ID", null, body])),
        );
        const passing = passingFrame(session, record("ID", null, body), false);
        deepEqual(Buffer.from(passing), Buffer.from(packValue([19, session, "ID", null, body])));
      }),
    );
  });

  test("splices numbers of every width so that they read back", () => {
    const safe = fc.maxSafeNat();
    const edges = [0, 127, 128, 255, 256, 65_535, 65_536, 2 ** 32 - 1, 2 ** 32, 2 ** 53 - 1];
    const number = fc.oneof(fc.constantFrom(...edges), safe);
    fc.assert(
      fc.property(number, number, number, (gen, seq, prev) => {
        const frame = messageFrame(0, gen, seq, prev, record("ID", null, 1), false);
        deepEqual(unpackValue(frame), [18, 0, gen, seq, prev, "ID", null, 1]);
      }),
    );
  });

  // Node's Buffer has a toJSON, which ran before the replacer saw the bytes: they went
  // out as {"type":"Buffer","data":[…]}.
  test("writes bytes in JSON as $base64, Buffers too", () => {
    const bytes = Buffer.from([1, 2, 3]);
    const text = `{"$base64":"AQID"}`;
    equal(Buffer.from(encodeFrame([bytes], true)).toString(), `[${text}]`);
    equal(Buffer.from(encodeFrame([Uint8Array.from(bytes)], true)).toString(), `[${text}]`);
    const frame = messageFrame(0, 1, 1, 0, record("ID", null, { inner: bytes }), true);
    equal(Buffer.from(frame).toString(), `[18,0,1,1,0,"ID",null,{"inner":${text}}]`);
  });

  test("leaves no trace of undefined fields but nil", () => {
    deepEqual(Buffer.from(packValue({ a: undefined })).toString("hex"), "81a161c0");
  });
});

describe("frames as a client reads them", () => {
  for (const vector of vectors.server) {
    test(`reads ${vector.name}`, () => {
      const msgpack = Buffer.from(vector.msgpack ?? "", "hex");
      for (const data of [msgpack, Uint8Array.from(msgpack).buffer, vector.json]) {
        const read = decodeServerFrame(data) as unknown as Record<string, unknown>;
        const found = Object.keys(vector.reads).map((field) => [field, read[field]]);
        deepEqual(encodeFrame(found, true), encodeFrame(Object.entries(vector.reads), true));
      }
    });
  }

  test("never throws, whatever arrives", () => {
    fc.assert(
      fc.property(fc.oneof(fc.uint8Array(), fc.string(), fc.json()), (data) => {
        decodeServerFrame(data);
      }),
      { numRuns: 5_000 },
    );
  });
});
