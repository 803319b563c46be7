/**
 * What services and clients get wrong: each ends in a documented code, nothing
 * crashes, and nothing is stored by halves.
 */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { WebSocket } from "ws";
import { NatsBus } from "../../src/drivers/nats-bus.js";
import { closeCodes } from "../../src/protocol/close-codes.js";
import { packValue, unpackValue } from "../../src/protocol/codec.js";
import { type ErrorCode, errorTable } from "../../src/protocol/errors.js";
import { clientFrameBytesMax, clientKinds } from "../../src/protocol/frames.js";
import type { PushAnswer } from "../../src/protocol/push-answer.js";
import { bodyBytesMax } from "../../src/protocol/push-command.js";
import { shardOf } from "../../src/protocol/shards.js";
import { pushUserSubject } from "../../src/protocol/subjects.js";
import { type Platform, startPlatform } from "../support/platform.js";
import { until } from "../support/until.js";

const utf8 = new TextEncoder();
const json = (value: unknown) => utf8.encode(JSON.stringify(value));

describe("bad input", () => {
  let platform: Platform;
  before(async () => {
    platform = await startPlatform({ nodes: ["a"] });
  });
  after(() => platform[Symbol.asyncDispose]());

  async function request(subject: string, payload: Uint8Array): Promise<PushAnswer> {
    const bytes = await new NatsBus(platform.operator).request(subject, payload, 20_000);
    const text = payload[0] === 0x7b || payload[0] === 0x20;
    return (text ? JSON.parse(new TextDecoder().decode(bytes)) : unpackValue(bytes)) as PushAnswer;
  }

  const carol = pushUserSubject("demo", "carol");
  const good = json({ body: 1 });
  const shardOfCarol = shardOf("demo", "carol");
  const pushes: readonly (readonly [string, string, Uint8Array, ErrorCode])[] = [
    ["an unknown app", pushUserSubject("nobody", "carol"), good, "UNKNOWN_APP"],
    ["an empty uid", pushUserSubject("demo", ""), good, "BAD_UID"],
    ["a uid too long", pushUserSubject("demo", "x".repeat(129)), good, "BAD_UID"],
    ["a uid too long once encoded", pushUserSubject("demo", "ü".repeat(22)), good, "BAD_UID"],
    ["a uid with a needless escape", "push.demo.user.c%61rol", good, "BAD_UID"],
    ["a uid with a broken escape", "push.demo.user.car%ZZol", good, "BAD_UID"],
    ["raw unicode in the subject", "push.demo.user.gün", good, "BAD_UID"],
    [
      "another shard's subject",
      `shard.${(shardOfCarol + 1) % 4096}.push.demo.carol`,
      good,
      "WRONG_SHARD",
    ],
    ["malformed JSON", carol, utf8.encode('{"body":'), "BAD_ENCODING"],
    ["malformed msgpack", carol, Uint8Array.of(0x81, 0xa4, 0x62), "BAD_ENCODING"],
    ["bytes after the msgpack map", carol, Uint8Array.of(0x80, 0x80), "BAD_ENCODING"],
    ["neither JSON nor msgpack", carol, utf8.encode("hello"), "BAD_ENCODING"],
    ["nothing at all", carol, new Uint8Array(0), "BAD_ENCODING"],
    ["a JSON array", carol, utf8.encode(" [1]"), "BAD_ENCODING"],
    ["no body", carol, json({ qos: 1 }), "BAD_COMMAND"],
    ["a body too large", carol, json({ body: "x".repeat(bodyBytesMax) }), "BODY_TOO_LARGE"],
    ["a ttl of the wrong type", carol, json({ body: 1, ttl: "1h" }), "BAD_COMMAND"],
    ["a ttl out of range", carol, json({ body: 1, ttl: 31 * 24 * 3600 }), "BAD_COMMAND"],
    ["a key too long", carol, json({ body: 1, id: "k".repeat(65) }), "BAD_COMMAND"],
    ["a target that is no map", carol, json({ body: 1, target: "phone" }), "BAD_COMMAND"],
    ["an unknown qos", carol, json({ body: 1, qos: 2 }), "UNSUPPORTED"],
    ["an unknown kind", carol, json({ body: 1, kind: "telepathy" }), "UNSUPPORTED"],
    ["an unknown priority", carol, json({ body: 1, priority: "now" }), "UNSUPPORTED"],
  ];
  for (const [what, subject, payload, code] of pushes) {
    test(`refuses a push with ${what} as ${code}`, async () => {
      const answer = await request(subject, payload);
      assert.equal(answer.ok, false);
      if (answer.ok) return;
      assert.equal(answer.code, code);
      assert.equal(answer.retryable, errorTable[code].retryable);
      assert.ok(answer.message.length > 0);
    });
  }

  test("has stored nothing of what it refused", async () => {
    const answer = await request(carol, good);
    assert.ok(answer.ok && answer.seq === 1, "the first that was accepted has the first seq");
  });

  test("ignores unknown fields", async () => {
    const answer = await request(pushUserSubject("demo", "dora"), json({ body: 1, colour: "red" }));
    assert.equal(answer.ok, true);
  });

  test("takes users whose names need encoding", async () => {
    for (const uid of ["a.b", "two words", "用户", "100%", "*", ">"]) {
      const received: unknown[] = [];
      platform.device(uid, { onMessage: (message) => void received.push(message.body) });
      const answer = await request(pushUserSubject("demo", uid), packValue({ body: uid }));
      assert.equal(answer.ok, true);
      await until(`${uid} has it`, () => received.length === 1);
      assert.deepEqual(received, [uid]);
    }
  });

  test("answers only into inboxes, whatever reply an app names", async () => {
    const { user, pass, inboxPrefix } = platform.nats.credentials.app("demo");
    const { connectNats } = await import("../../src/drivers/nats-connection.js");
    const app = await connectNats({
      url: platform.nats.url,
      name: "t",
      user,
      password: pass,
      inboxPrefix,
    });
    const spied: string[] = [];
    new NatsBus(platform.link).subscribe("shard.>", ({ subject }) => void spied.push(subject));
    await new NatsBus(platform.link).flush();
    const victim = `shard.${shardOf("demo", "victim")}.push.demo.victim`;
    new NatsBus(app).publish(carol, good, { reply: victim });
    await until("the push itself passed", () => spied.length > 0);
    assert.equal((await request(carol, good)).ok, true);
    assert.equal(spied.includes(victim), false);
    await app.close();
  });

  // ---- clients ----

  interface Ending {
    readonly code: number;
    readonly reason: string;
  }

  async function talk(
    frames: readonly (string | Uint8Array)[],
    protocol = "belfry.v1",
  ): Promise<Ending> {
    const ws = new WebSocket(platform.node("a").edgeUrl, protocol);
    await new Promise((resolve, reject) => {
      ws.once("open", resolve);
      ws.once("error", reject);
    });
    const ended = new Promise<Ending>((resolve) => {
      ws.once("close", (code, reason) => resolve({ code, reason: String(reason) }));
    });
    for (const frame of frames) ws.send(frame);
    return ended;
  }

  const hello = (token: string, more: object = {}) =>
    packValue([clientKinds.hello, { v: 1, token, device: "d1", ...more }]);

  test("closes a client by a documented code for each thing it gets wrong", async () => {
    const soon = Math.floor(Date.now() / 1_000);
    const valid = await platform.token("eve");
    const forged = `${valid.slice(0, -6)}AAAAAA`;
    const expired = await platform.token("eve", { exp: soon - 60 });
    const wrongApp = await platform.token("eve", { app: "nobody" });
    const noUser = await platform.token("eve", { sub: "" });
    const frames: readonly (readonly [
      string,
      readonly (string | Uint8Array)[],
      keyof typeof closeCodes,
    ])[] = [
      ["garbage bytes", [Uint8Array.of(0xc1, 0xff, 0x00)], "BAD_FRAME"],
      ["text where binary is due", ["[1,{}]"], "BAD_FRAME"],
      ["a frame that is no array", [packValue({ kind: 1 })], "BAD_FRAME"],
      ["a hello of the wrong types", [packValue([1, { v: 1, token: 7 }])], "BAD_FRAME"],
      ["an unknown kind", [packValue([99, 0])], "UNSUPPORTED"],
      ["an unknown version", [packValue([1, { v: 2, token: valid }])], "UNSUPPORTED"],
      ["an ack before its hello", [packValue([clientKinds.ack, 0, 1, 1])], "HELLO_FIRST"],
      ["an oversized frame", [new Uint8Array(clientFrameBytesMax + 1)], "FRAME_TOO_LARGE"],
      ["no token", [packValue([1, { v: 1, token: "" }])], "BAD_FRAME"],
      ["a token that is no token", [hello("abc")], "UNAUTHORIZED"],
      ["a forged token", [hello(forged)], "UNAUTHORIZED"],
      ["an expired token", [hello(expired)], "TOKEN_EXPIRED"],
      ["a token of an unknown app", [hello(wrongApp)], "UNAUTHORIZED"],
      ["a token without a user", [hello(noUser)], "UNAUTHORIZED"],
      ["no device", [packValue([1, { v: 1, token: valid }])], "BAD_FRAME"],
      ["a second hello", [hello(valid), hello(valid)], "BAD_FRAME"],
    ];
    for (const [what, sent, name] of frames) {
      const { code, reason } = await talk(sent);
      assert.equal(code, closeCodes[name].code, `${what}: ${code} ${reason}`);
    }
    const binaryWhereText = await talk([hello(valid)], "belfry.v1.json");
    assert.equal(binaryWhereText.code, closeCodes.BAD_FRAME.code);
  });

  test("lets an older connection of the same device go when a newer one comes", async () => {
    const token = await platform.token("frank");
    const older = talk([hello(token, { connect: 5 })]);
    const received: unknown[] = [];
    platform.device("frank", {
      device: "d1",
      onMessage: (message) => void received.push(message.body),
    });
    assert.equal((await older).code, closeCodes.REPLACED.code);
    const outdated = await talk([hello(token, { connect: 4 })]);
    assert.equal(outdated.code, closeCodes.REPLACED.code);
    await platform.push("frank", { body: "still here" });
    await until("the newer one is served", () => received.length === 1);
  });

  test("serves on after all of that", async () => {
    const answer = await request(carol, good);
    assert.equal(answer.ok, true);
    assert.equal((await fetch(`${platform.node("a").httpUrl}/healthz`)).status, 200);
  });
});
