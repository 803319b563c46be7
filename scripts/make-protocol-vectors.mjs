// Writes docs/protocol-vectors.json: every frame in both forms, and frames that an
// edge refuses with the code it closes with. Run it after a build when a frame kind
// is added; test/protocol/frames.test.ts holds the code to what is written there.
//
//   npx tsc -p tsconfig.json; node scripts/make-protocol-vectors.mjs
//   npx biome format --write docs/protocol-vectors.json
import { writeFileSync } from "node:fs";
import { Packr } from "msgpackr";
import { closeCodes } from "../dist/src/protocol/close-codes.js";
import { encodeFrame, messageFrame } from "../dist/src/protocol/frames.js";
import { tellVectors } from "./tell-vectors.mjs";

const packr = new Packr({ useRecords: false, variableMapSize: true });
const hex = (bytes) => Buffer.from(bytes).toString("hex");
const text = (frame) => Buffer.from(encodeFrame(frame, true)).toString();
const generation = 1_048_577;
const id = "0DGZRG3G80100001";
const largeGeneration = 2 ** 40 + 1;
const record = Buffer.concat([id, null, 7].map((value) => packr.pack(value)));
const boundHello = { kind: "hello", version: 1, token: "e30.e30.YmluZA", start: "new" };
const hello = { v: 1, token: "e30.e30.c2ln", start: "new" };

function sent(name, frame, reads) {
  return { name, msgpack: hex(encodeFrame(frame, false)), json: text(frame), reads };
}

function refused(name, close, forms) {
  return { name, ...forms, close: { name: close, code: closeCodes[close].code } };
}

function refusedFrame(name, close, frame) {
  return refused(name, close, { msgpack: hex(packr.pack(frame)), json: JSON.stringify(frame) });
}

const told = tellVectors({ sent, refusedFrame });

const client = [
  sent("hello, as short as it may be", [1, hello], {
    kind: "hello",
    version: 1,
    token: hello.token,
    start: "new",
  }),
  sent(
    "hello of a known device",
    [
      1,
      {
        v: 1,
        token: "e30.e30.c2ln",
        device: "phone-7",
        platform: "web",
        connect: 1_760_000_000_000,
        position: [generation, 41],
        start: "tail:20",
        later: "unknown fields are ignored",
      },
    ],
    {
      kind: "hello",
      version: 1,
      token: "e30.e30.c2ln",
      device: "phone-7",
      platform: "web",
      connect: 1_760_000_000_000,
      position: { generation, seq: 41 },
      start: "tail:20",
    },
  ),
  sent("ack", [2, 0, generation, 42], {
    kind: "ack",
    session: 0,
    position: { generation, seq: 42 },
  }),
  sent("resend", [3, 0, generation, 41], {
    kind: "resend",
    session: 0,
    position: { generation, seq: 41 },
  }),
  sent("pong", [4, 70_000], { kind: "pong", nonce: 70_000 }),
  sent("token", [5, 0, "e30.e30.bmV3"], { kind: "token", session: 0, token: "e30.e30.bmV3" }),
  sent("bind, as short as it may be", [8, 1, { token: "e30.e30.YmluZA" }], {
    kind: "bind",
    session: 1,
    hello: boundHello,
  }),
  sent(
    "bind of a known device, with what is hello's alone",
    [
      8,
      15,
      {
        v: 2,
        token: "e30.e30.YmluZA",
        device: "phone-7",
        platform: "web",
        connect: 1_760_000_000_000,
        position: [generation, 41],
        start: "all",
        network: 7,
      },
    ],
    {
      kind: "bind",
      session: 15,
      hello: {
        ...boundHello,
        device: "phone-7",
        platform: "web",
        connect: 1_760_000_000_000,
        position: { generation, seq: 41 },
        start: "all",
      },
    },
  ),
  sent("bind at an index that is refused later", [8, 16, { token: "e30.e30.YmluZA" }], {
    kind: "bind",
    session: 16,
    hello: boundHello,
  }),
  sent("unbind", [9, 1], { kind: "unbind", session: 1 }),
  sent("ack of a bound session", [2, 3, generation, 42], {
    kind: "ack",
    session: 3,
    position: { generation, seq: 42 },
  }),
  sent("pong of a later version, with more fields", [4, 1, "later"], { kind: "pong", nonce: 1 }),
  ...told.client,
  sent("call", [7, 0, 3, "orders", 5_000, { order: 17 }], {
    ...{ kind: "call", session: 0, call: 3, route: "orders" },
    ...{ deadlineMs: 5_000, body: { order: 17 } },
  }),
  sent("call with an hour's deadline, which counts as a minute", [7, 0, 4, "ü.v1", 3_600_000, 1], {
    ...{ kind: "call", session: 0, call: 4, route: "ü.v1" },
    ...{ deadlineMs: 60_000, body: 1 },
  }),
  sent("call without a deadline, which counts as 1 ms", [7, 0, 5, "r", 0, null, "later"], {
    ...{ kind: "call", session: 0, call: 5, route: "r" },
    ...{ deadlineMs: 1, body: null },
  }),
  sent("opened", [10, 0, id], { kind: "opened", session: 0, id }),
];

function nested(depth) {
  return depth === 0 ? 1 : [nested(depth - 1)];
}

const refusedFrames = [
  refusedFrame("a map in place of an array", "BAD_FRAME", { kind: 1 }),
  refusedFrame("an empty array", "BAD_FRAME", []),
  refusedFrame("a kind that is no number", "BAD_FRAME", ["hello", hello]),
  refusedFrame("an unknown kind", "UNSUPPORTED", [15, 0]),
  refusedFrame("a kind that only edges send", "UNSUPPORTED", [18, 0, 1, 2, 1, id, null, "x"]),
  refusedFrame("hello without its map", "BAD_FRAME", [1]),
  refusedFrame("hello of another protocol version", "UNSUPPORTED", [1, { ...hello, v: 2 }]),
  refusedFrame("hello without a token", "BAD_FRAME", [1, { v: 1 }]),
  refusedFrame("hello with an empty token", "BAD_FRAME", [1, { ...hello, token: "" }]),
  refusedFrame("hello with a device of 65 bytes", "BAD_FRAME", [
    1,
    { ...hello, device: "d".repeat(65) },
  ]),
  refusedFrame("hello with a negative connect", "BAD_FRAME", [1, { ...hello, connect: -1 }]),
  refusedFrame("hello with a position of one number", "BAD_FRAME", [
    1,
    { ...hello, position: [1] },
  ]),
  refusedFrame("hello with an unknown start", "BAD_FRAME", [1, { ...hello, start: "tail:" }]),
  refusedFrame("ack without a seq", "BAD_FRAME", [2, 0, generation]),
  refusedFrame("ack with a fraction", "BAD_FRAME", [2, 0, generation, 1.5]),
  refusedFrame("resend with text for a number", "BAD_FRAME", [3, 0, "1", 2]),
  refusedFrame("pong above 2^53 - 1", "BAD_FRAME", [4, 2 ** 53]),
  refusedFrame("token without a token", "BAD_FRAME", [5, 0, null]),
  refusedFrame("bind without a token", "BAD_FRAME", [8, 1, {}]),
  refusedFrame("bind with a list for its map", "BAD_FRAME", [8, 1, ["token"]]),
  refusedFrame("bind at an index that is no number", "BAD_FRAME", [8, "1", { token: "t" }]),
  refusedFrame("bind with a negative connect", "BAD_FRAME", [8, 1, { token: "t", connect: -1 }]),
  refusedFrame("unbind of a negative index", "BAD_FRAME", [9, -1]),
  refusedFrame("call without a route", "BAD_FRAME", [7, 0, 3, "", 5_000, 1]),
  refusedFrame("call by a route of 65 bytes", "BAD_FRAME", [7, 0, 3, "r".repeat(65), 5_000, 1]),
  refusedFrame("call without a body", "BAD_FRAME", [7, 0, 3, "orders", 5_000]),
  refusedFrame("call with a negative number", "BAD_FRAME", [7, 0, -1, "orders", 5_000, 1]),
  refusedFrame("call with too deep a body", "BAD_FRAME", [7, 0, 3, "orders", 5_000, nested(64)]),
  refusedFrame("opened without a MsgID", "BAD_FRAME", [10, 0, id.slice(1)]),
  refused("no bytes", "BAD_FRAME", { msgpack: "", json: "" }),
  refused("msgpack that is cut off", "BAD_FRAME", { msgpack: "9402" }),
  refused("bytes behind the frame", "BAD_FRAME", { msgpack: "92040100", json: "[4,1]0" }),
  refused("an array longer than its bytes", "BAD_FRAME", { msgpack: "ddffffffff04" }),
  refused("an extension", "BAD_FRAME", { msgpack: "9204d6ff00000000" }),
  refused("a byte that msgpack never uses", "BAD_FRAME", { msgpack: "9204c1" }),
  refused("nested too deep", "BAD_FRAME", { msgpack: `${"91".repeat(100)}01` }),
  refused("JSON that is cut off", "BAD_FRAME", { json: "[4,1" }),
  ...told.refused,
];

const server = [
  sent(
    "welcome",
    [
      16,
      {
        v: 1,
        node: "a-n1",
        connection: 65_537,
        heartbeatMs: 30_000,
        frameBytesMax: 65_536,
        serverTimeMs: 1_760_000_000_000,
      },
    ],
    { kind: "welcome" },
  ),
  sent(
    "attached",
    [
      17,
      0,
      generation,
      41,
      { app: "demo", uid: "alice", device: "phone-7", tokenExpiresAt: 1_760_003_600 },
    ],
    { kind: "attached", session: 0, base: { generation, seq: 41 } },
  ),
  sent("message without a head", [18, 0, generation, 42, 41, id, null, { text: "hello" }], {
    kind: "message",
    generation,
    seq: 42,
    prev: 41,
    id,
    head: {},
    body: { text: "hello" },
  }),
  sent(
    "message with a head",
    [18, 0, generation, 45, 42, id, { type: "chat", enc: "aes" }, [1, "zwei"]],
    {
      kind: "message",
      generation,
      seq: 45,
      prev: 42,
      id,
      head: { type: "chat", enc: "aes" },
      body: [1, "zwei"],
    },
  ),
  sent("message with bytes", [18, 0, generation, 46, 45, id, null, Uint8Array.of(0, 1, 254, 255)], {
    kind: "message",
    generation,
    seq: 46,
    prev: 45,
    id,
    head: {},
    body: { $base64: "AAH+/w==" },
  }),
  // Above 32 bits both encodings of a whole number occur: float 64 and uint 64.
  sent(
    "attached of a large generation, as float 64",
    [17, 0, largeGeneration, 0, { app: "demo", uid: "alice", device: "d", tokenExpiresAt: 1 }],
    { kind: "attached", session: 0, base: { generation: largeGeneration, seq: 0 } },
  ),
  {
    name: "message of a large generation, as uint 64",
    msgpack: hex(messageFrame(0, largeGeneration, 1, 0, record, false)),
    json: Buffer.from(messageFrame(0, largeGeneration, 1, 0, record, true)).toString(),
    reads: { kind: "message", generation: largeGeneration, seq: 1, prev: 0, id, head: {}, body: 7 },
  },
  sent("passing", [19, 0, id, { type: "typing" }, null], {
    kind: "passing",
    session: 0,
    id,
    head: { type: "typing" },
    body: null,
  }),
  sent("ping", [20, 7], { kind: "ping", nonce: 7 }),
  sent("refused", [21, 0, "UNAUTHORIZED", "the token is for somebody else"], {
    kind: "refused",
    session: 0,
    code: "UNAUTHORIZED",
    message: "the token is for somebody else",
  }),
  sent("tokenWanted", [22, 0, 60_000], { kind: "tokenWanted", session: 0, expiresInMs: 60_000 }),
  sent("recalled", [23, 0, [id]], { kind: "recalled", session: 0, ids: [id] }),
  sent("ended", [26, 2, 4505, "REPLACED"], {
    kind: "ended",
    session: 2,
    code: 4505,
    name: "REPLACED",
  }),
  ...told.server,
  sent("answer", [25, 0, 3, null, { total: 41 }], {
    ...{ kind: "answer", session: 0, call: 3 },
    ...{ code: null, value: { total: 41 } },
  }),
  sent("answer that is a refusal", [25, 0, 3, "NO_SERVICE", "nobody takes it"], {
    ...{ kind: "answer", session: 0, call: 3 },
    ...{ code: "NO_SERVICE", value: "nobody takes it" },
  }),
  sent("a kind of a later version, to be ignored", [31, { any: "thing" }], { kind: "unknown" }),
];

const vectors = {
  about:
    "Frames of belfry.v1 (msgpack, as hex) and belfry.v1.json (json). `client`: what an edge " +
    "reads; `refused`: what it closes on; `server`: what a client reads. `reads` are the " +
    'fields; bytes stand as {"$base64"}. Made by scripts/make-protocol-vectors.mjs.',
  version: 1,
  client,
  refused: refusedFrames,
  server,
};
writeFileSync(
  new URL("../docs/protocol-vectors.json", import.meta.url),
  `${JSON.stringify(vectors, null, 2)}\n`,
);
