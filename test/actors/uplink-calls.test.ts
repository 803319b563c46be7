/** What becomes of clients' calls on an edge, with a bus that the test answers for. */
import { deepEqual, equal, match } from "node:assert/strict";
import { describe, test } from "node:test";
import { defaultLimits, type Limits } from "../../actors/limits.js";
import { type Caller, type CallSurroundings, UplinkCalls } from "../../actors/uplink-calls.js";
import { Fault } from "../../src/base/result.js";
import { type ConnectionId, connectionId } from "../../src/ports/edge-transport.js";
import { packValue, unpackValue } from "../../src/protocol/codec.js";
import { sessionKey } from "../../src/protocol/shards.js";

interface Asked {
  readonly subject: string;
  readonly payload: Uint8Array;
  readonly deadlineMs: number;
  answer(value: unknown): void;
  answerBytes(bytes: Uint8Array): void;
  fail(fault: Error): void;
}

function edge(changes: Partial<Limits> = {}) {
  const asked: Asked[] = [];
  const sent: [ConnectionId, unknown][] = [];
  const closed: [ConnectionId, string][] = [];
  const errors: string[] = [];
  const now = { buffered: 0, isText: false };
  const bus = {
    payloadMax: 1024 * 1024,
    request: (subject: string, payload: Uint8Array, deadlineMs: number) =>
      new Promise<Uint8Array>((answerBytes, fail) => {
        const answer = (value: unknown) => answerBytes(packValue(value));
        asked.push({ subject, payload, deadlineMs, answer, answerBytes, fail });
      }),
  };
  const surroundings = {
    node: {
      ...{ nodeId: "a-n1", incarnation: "i1", bus },
      limits: { ...defaultLimits, ...changes },
      log: { error: (message: string) => void errors.push(message) },
      transport: { bufferedBytes: () => now.buffered },
    },
    isText: () => now.isText,
    send: (connection: ConnectionId, frame: Uint8Array) => {
      const text = now.isText ? JSON.parse(Buffer.from(frame).toString()) : unpackValue(frame);
      sent.push([connection, text]);
    },
    close: (connection: ConnectionId, name: string) => void closed.push([connection, name]),
  } as unknown as CallSurroundings;
  const calls = new UplinkCalls(surroundings);
  const start = (call: number, by: Caller = alice, route = "orders", body: unknown = 1) =>
    calls.start(by, { kind: "call", session: 0, call, route, deadlineMs: 5_000, body });
  return { asked, sent, closed, errors, now, bus, calls, start };
}

const callerOf = (app: string, uid: string, slot: number): Caller => ({
  ...{ number: connectionId(slot, 1), connection: connectionId(slot, 1) },
  ...{ session: 0, device: "phone" },
  key: sessionKey(app, uid),
});
const alice = callerOf("demo", "al%2Eice", 1);
const settle = () => new Promise((resolve) => setImmediate(resolve));
const codeOf = ([, frame]: [ConnectionId, unknown]) => (frame as unknown[])[3];
const none = { underWay: 0, bytes: 0, sessions: 0, limited: 0 };

describe("a call", () => {
  test("goes to the app's service with who calls, and its answer to who called", async () => {
    const { asked, sent, start, calls } = edge();
    start(3, alice, "süß.v1", { order: 17 });
    const [request] = asked;
    equal(request?.subject, "uplink.demo.s%C3%BC%C3%9F%2Ev1.al%2Eice");
    equal(request?.deadlineMs, 5_000);
    deepEqual(unpackValue(request?.payload ?? new Uint8Array()), {
      ...{ v: 1, id: `a-n1.i1.${alice.connection}.3`, app: "demo", uid: "al.ice" },
      ...{ device: "phone", route: "süß.v1", deadlineMs: 5_000, body: { order: 17 } },
    });
    request?.answer({ ok: true, value: { total: 41 } });
    await settle();
    deepEqual(sent, [[alice.connection, [25, 0, 3, null, { total: 41 }]]]);
    deepEqual(calls.inspect(), { ...none, ended: { answered: 1 } });
  });

  test("of a client that speaks JSON goes as JSON, and comes back from either", async () => {
    const { asked, sent, start, now } = edge();
    now.isText = true;
    start(1, alice, "orders", "ü");
    start(2);
    const payload = Buffer.from(asked[0]?.payload ?? []).toString();
    match(payload, /^\{"v":1,.*"body":"ü"\}$/);
    asked[0]?.answerBytes(Buffer.from(` {"ok":true,"value":[1]}`));
    asked[1]?.answer({ ok: true, value: Buffer.from([1, 2, 3]) });
    await settle();
    deepEqual(
      sent.map(([, frame]) => frame),
      [
        [25, 0, 1, null, [1]],
        [25, 0, 2, null, { $base64: "AQID" }],
      ],
    );
  });

  test("is refused as the service says, and no code of a service is longer than 64 bytes", async () => {
    const { asked, sent, start } = edge();
    start(1);
    start(2);
    asked[0]?.answer({ ok: false, code: "SOLD_OUT", message: "m".repeat(5_000) });
    asked[1]?.answer({ ok: false, code: "C".repeat(65) });
    await settle();
    deepEqual(sent[0]?.[1], [25, 0, 1, "SOLD_OUT", "m".repeat(1_024)]);
    equal(codeOf(sent[1] as never), "BAD_ANSWER");
  });

  const faults: [string, Error][] = [
    ["NO_SERVICE", new Fault("NO_RESPONDERS", "not-done", "")],
    ["TIMEOUT", new Fault("TIMEOUT", "unknown", "")],
    ["UNAVAILABLE", new Fault("DISCONNECTED", "not-done", "")],
    ["ANSWER_LOST", new Fault("DISCONNECTED", "unknown", "")],
  ];
  for (const [code, fault] of faults) {
    test(`ends with ${code} after a ${fault.message || (fault as Fault).code} of the bus`, async () => {
      const { asked, sent, start, calls } = edge();
      start(1);
      asked[0]?.fail(fault);
      await settle();
      deepEqual(sent.map(codeOf), [code]);
      deepEqual(calls.inspect(), { ...none, ended: { [code]: 1 } });
    });
  }

  const senseless: [string, Uint8Array][] = [
    ["nothing", new Uint8Array()],
    ["no map", packValue([true])],
    ["neither yes nor no", packValue({ ok: 1 })],
    ["an extension", Uint8Array.of(0x82, 0xa2, 0x6f, 0x6b, 0xc3, 0xa1, 0x76, 0xd4, 0x01, 0x00)],
    ["half a map", packValue({ ok: true, value: "long" }).subarray(0, 7)],
    ["JSON that is nested too deep", Buffer.from(`{"ok":true,"value":${"[".repeat(9_000)}`)],
  ];
  for (const [name, bytes] of senseless) {
    test(`ends with BAD_ANSWER when the service answers ${name}`, async () => {
      const { asked, sent, start } = edge();
      start(1);
      asked[0]?.answerBytes(bytes);
      await settle();
      deepEqual(sent.map(codeOf), ["BAD_ANSWER"]);
    });
  }

  test("whose answer fits no frame, or not beside what waits for the client, is told so", async () => {
    const { asked, sent, start, now } = edge();
    for (const call of [1, 2, 3]) start(call);
    asked[0]?.answer({ ok: true, value: "a".repeat(256 * 1024) });
    asked[1]?.answer({ ok: true, value: "a".repeat(200 * 1024) });
    await settle();
    now.buffered = defaultLimits.connectionBufferBytesMax - 100_000;
    asked[2]?.answer({ ok: true, value: "a".repeat(200 * 1024) });
    await settle();
    deepEqual(sent.map(codeOf), ["ANSWER_TOO_LARGE", null, "ANSWER_TOO_LARGE"]);
  });

  test("above what the bus takes never leaves", () => {
    const { asked, sent, start, bus } = edge();
    bus.payloadMax = 1_000;
    start(1, alice, "orders", "x".repeat(1_000));
    deepEqual([asked.length, sent.map(codeOf)], [0, ["TOO_LARGE"]]);
  });

  test("with a number that is under way already ends the connection", async () => {
    const { asked, closed, start, sent } = edge();
    start(1);
    start(1);
    deepEqual(closed, [[alice.connection, "BAD_FRAME"]]);
    asked[0]?.answer({ ok: true });
    await settle();
    start(1);
    equal(closed.length, 1);
    deepEqual(sent[0]?.[1], [25, 0, 1, null, null]);
  });

  test("of a connection that is gone is answered to nobody, and counts until it ends", async () => {
    const { asked, sent, start, calls } = edge();
    start(1);
    calls.forget(alice.connection);
    equal(calls.inspect()["underWay"], 1);
    asked[0]?.answer({ ok: true });
    await settle();
    deepEqual(sent, []);
    deepEqual(calls.inspect(), { ...none, ended: {} });
  });

  test("that fails by an error of ours ends its connection alone", async () => {
    const { asked, start, closed, errors, calls } = edge();
    start(1);
    asked[0]?.fail(new TypeError("a bug"));
    await settle();
    deepEqual(closed, [[alice.connection, "INTERNAL"]]);
    deepEqual(errors, ["a call failed"]);
    equal(calls.inspect()["underWay"], 0);
  });
});

describe("calls under way are bounded", () => {
  const refusedAbove = (changes: Partial<Limits>, callers: readonly Caller[]) => {
    const { asked, sent, start } = edge(changes);
    for (const [at, caller] of callers.entries()) start(at, caller);
    return [asked.length, sent.map(codeOf)];
  };
  const many = (count: number, caller: (at: number) => Caller) =>
    Array.from({ length: count }, (_, at) => caller(at));

  test("by connection", () => {
    const got = refusedAbove({ sessionCallsMax: 2 }, [
      alice,
      alice,
      alice,
      callerOf("demo", "b", 2),
    ]);
    deepEqual(got, [3, ["OVERLOADED"]]);
  });

  test("by user, whatever connection", () => {
    const got = refusedAbove({ userCallsMax: 2 }, [
      ...many(3, (at) => callerOf("demo", "a", at)),
      callerOf("demo", "b", 9),
    ]);
    deepEqual(got, [3, ["OVERLOADED"]]);
  });

  test("by app, and the other apps go on", () => {
    const got = refusedAbove({ appCallsMax: 2 }, [
      ...many(3, (at) => callerOf("demo", `u${at}`, at)),
      callerOf("other", "u", 9),
    ]);
    deepEqual(got, [3, ["OVERLOADED"]]);
  });

  test("by edge", () => {
    const got = refusedAbove(
      { edgeCallsMax: 2 },
      many(3, (at) => callerOf(`app${at}`, "u", at)),
    );
    deepEqual(got, [2, ["OVERLOADED"]]);
  });

  test("by what they carry, which comes back with their ends", async () => {
    const { asked, sent, start } = edge({ edgeCallBytesMax: 3_000 });
    const body = "x".repeat(1_000);
    for (const call of [1, 2, 3]) start(call, alice, "orders", body);
    deepEqual(sent.map(codeOf), ["OVERLOADED"]);
    for (const request of asked) request.answer({ ok: true });
    await settle();
    start(3, alice, "orders", body);
    equal(asked.length, 3);
  });

  test("also those whose clients have left and come back", () => {
    const { asked, sent, start, calls } = edge({ userCallsMax: 10 });
    for (let at = 0; at < 20; at++) {
      const caller = callerOf("demo", "a", at);
      start(1, caller);
      calls.forget(caller.connection);
    }
    deepEqual([asked.length, sent.length], [10, 10]);
  });
});

describe("routes of a token", () => {
  test("are the only ones that its session may call", () => {
    const { asked, sent, start, calls } = edge();
    calls.routes.set(alice.connection, ["orders", "a.b"]);
    for (const [call, route] of ["orders", "a.b", "order", "b", "orders.", "a%2Eb"].entries()) {
      start(call, alice, route);
    }
    start(9, callerOf("demo", "bob", 2), "order");
    equal(asked.length, 3);
    deepEqual(sent.map(codeOf), Array(4).fill("NOT_ALLOWED"));
  });

  test("that are none allow none; a fresh token changes them; nothing is kept without", () => {
    const { asked, start, calls } = edge();
    calls.routes.set(alice.connection, []);
    start(1);
    equal(asked.length, 0);
    calls.routes.set(alice.connection, undefined);
    start(2);
    equal(asked.length, 1);
    equal(calls.routes.size, 0);
    calls.routes.set(alice.connection, ["orders"]);
    calls.forget(alice.connection);
    equal(calls.routes.size, 0);
  });
});
