/** Who a webhook vouches for, what it is asked and how it is signed; and what hostile ones reach. */
import assert from "node:assert/strict";
import { createHmac, timingSafeEqual } from "node:crypto";
import { readFileSync } from "node:fs";
import { createServer as createTcpServer, type LookupFunction, type Socket } from "node:net";
import { afterEach, beforeEach, describe, test } from "node:test";
import { JwtTokens } from "../../src/drivers/jwt-tokens.js";
import { systemClock } from "../../src/drivers/system-clock.js";
import { defaultWebhookLimits, WebhookGate } from "../../src/drivers/webhook-gate.js";
import { defaultPostLimits, WebhookPost } from "../../src/drivers/webhook-post.js";
import { signatureHeaders, WebhookTokens } from "../../src/drivers/webhook-tokens.js";
import type { TokenHolder } from "../../src/ports/tokens.js";
import { type AppRecord, appRecordVersion } from "../../src/protocol/app-record.js";
import { projectFile } from "../protocol/project-file.js";
import { FakeWebhook, says } from "../support/fake-webhook.js";
import { until } from "../support/until.js";

const older = { kid: "older", secret: "o".repeat(43) };
const newer = { kid: "newer", secret: "n".repeat(43) };
const nowSeconds = () => Math.floor(Date.now() / 1_000);

interface Told {
  readonly level: string;
  readonly event: string;
  readonly fields: Readonly<Record<string, unknown>>;
}

describe("a connect webhook", () => {
  let webhook: FakeWebhook;
  let tokens: WebhookTokens;
  const told: Told[] = [];
  const records = new Map<string, AppRecord>();

  function register(app: string, url: string | undefined): void {
    const connect = url === undefined ? {} : { connect: { url } };
    const secrets = [newer, older];
    const base = { v: appRecordVersion, app, secrets, delivery: "each-device", createdAtMs: 0 };
    records.set(app, { ...base, ...connect } as AppRecord);
  }

  function tokensWith(
    post: Partial<typeof defaultPostLimits> = {},
    gate: Partial<typeof defaultWebhookLimits> = {},
    lookup?: LookupFunction,
  ): WebhookTokens {
    const apps = {
      find: (app: string) => records.get(app),
      get hasConnectUrls() {
        return [...records.values()].some(({ connect }) => connect !== undefined);
      },
    };
    const note = (level: string) => (event: string, fields?: Told["fields"]) =>
      void told.push({ level, event, fields: fields ?? {} });
    const limits = { ...defaultPostLimits, ...post };
    tokens?.close();
    tokens = new WebhookTokens(apps, new JwtTokens(apps), {
      post: new WebhookPost(limits, systemClock, lookup),
      gate: new WebhookGate({ ...defaultWebhookLimits, ...gate }),
      log: { debug: note("debug"), info: note("info"), warn: note("warn"), error: note("error") },
    });
    return tokens;
  }

  beforeEach(async () => {
    records.clear();
    told.length = 0;
    webhook = await FakeWebhook.start();
    register("shop", webhook.url);
    register("plain", undefined);
    tokensWith();
  });
  afterEach(async () => {
    tokens.close();
    await webhook[Symbol.asyncDispose]();
  });

  async function refusalOf(token: string, holder?: TokenHolder): Promise<[string, string]> {
    const verdict = await tokens.verify(token, holder);
    assert.ok(!verdict.ok, "the token was taken");
    return [verdict.code, verdict.message];
  }

  async function hintOf(token: string): Promise<number> {
    const [code, message] = await refusalOf(token);
    assert.equal(code, "AUTH_UNAVAILABLE", message);
    const [, hint] = /\sretryAfterMs=(\d+)$/.exec(message) ?? [];
    assert.ok(message.length < 100, "it fits a close frame");
    return Number(hint);
  }

  async function taken(token: string, holder?: TokenHolder) {
    const verdict = await tokens.verify(token, holder);
    assert.ok(verdict.ok, verdict.ok ? "" : verdict.message);
    return verdict.value;
  }

  describe("is asked", () => {
    test("what is known of the client, and gives it a session for an hour", async () => {
      const before = nowSeconds();
      const claims = await taken("shop:any:text ü", {
        ...{ device: "phone", platform: "ios", address: "192.0.2.1" },
      });
      assert.equal(claims.app, "shop");
      assert.equal(claims.sub, "alice");
      assert.ok(claims.exp >= before + 3_600 && claims.exp <= nowSeconds() + 3_600);
      assert.deepEqual(webhook.requests[0]?.body, {
        ...{ v: 1, app: "shop", token: "any:text ü" },
        ...{ device: "phone", platform: "ios", address: "192.0.2.1" },
      });
      await taken("shop:other");
      assert.deepEqual(webhook.requests[1]?.body, { v: 1, app: "shop", token: "other" });
    });

    test("in a request that each live secret has signed", async () => {
      await taken("shop:t");
      const [{ headers, text }] = webhook.requests as [(typeof webhook.requests)[0]];
      const signed = `${headers["webhook-id"]}.${headers["webhook-timestamp"]}.${text}`;
      const expected = [newer, older].map(
        ({ secret }) => `v1,${createHmac("sha256", secret).update(signed).digest("base64")}`,
      );
      assert.deepEqual(String(headers["webhook-signature"]).split(" "), expected);
      assert.equal(headers["content-type"], "application/json");
      assert.ok(Math.abs(Number(headers["webhook-timestamp"]) - nowSeconds()) < 60);
    });

    test("as docs/api.md shows it, with a signature that its own code verifies", () => {
      const document = readFileSync(projectFile("docs/api.md"), "utf8");
      const example = (name: string) => {
        const [, value] = new RegExp(`^${name}: (.+)$`, "m").exec(document) ?? [];
        assert.ok(value !== undefined, `${name} stands in docs/api.md`);
        return value;
      };
      const [, body = ""] = /^webhook-signature: .+\n\n(\{.+\})$/m.exec(document) ?? [];
      const [, secret = ""] = /signed with the secret\s+`(.+?)`/.exec(document) ?? [];
      const id = example("webhook-id");
      const wallMs = Number(example("webhook-timestamp")) * 1_000;
      const made = signatureHeaders([{ kid: "k", secret }], id, wallMs, body);
      assert.equal(made["webhook-signature"], example("webhook-signature"));
      // The code in the document, to the letter.
      const [, source = ""] = /```js\n(import \{ createHmac.*?)```/s.exec(document) ?? [];
      const code = source.replace(/^import .+$/gm, "").replace("export ", "");
      const isFromBelfry = new Function(
        "createHmac",
        "timingSafeEqual",
        `${code}; return isFromBelfry;`,
      )(createHmac, timingSafeEqual) as (
        headers: Readonly<Record<string, string>>,
        body: string,
        secret: string,
        nowMs: number,
      ) => boolean;
      assert.ok(isFromBelfry(made, body, secret, wallMs));
      assert.ok(!isFromBelfry(made, `${body} `, secret, wallMs));
      assert.ok(!isFromBelfry(made, body, "another", wallMs));
      assert.ok(!isFromBelfry(made, body, secret, wallMs + 3_600_000), "it is old");
    });

    test("each time, and for the same that comes again meanwhile once", async () => {
      const held: (() => void)[] = [];
      webhook.answer = (response) => void held.push(() => says({ sub: "alice" })(response));
      const same = [taken("shop:t", { device: "d" }), taken("shop:t", { device: "d" })];
      const other = taken("shop:t", { device: "e" });
      await until("both are asked", () => held.length === 2);
      for (const answer of held.splice(0)) answer();
      const [first, second] = await Promise.all([...same, other]);
      assert.deepEqual(first, second);
      const again = taken("shop:t", { device: "d" });
      await until("it is asked again", () => held.length === 1);
      held[0]?.();
      await again;
      assert.equal(webhook.requests.length, 3);
    });

    test("over sockets that are kept, and anew where the server has closed one", async () => {
      await taken("shop:1");
      await taken("shop:2");
      assert.equal(webhook.connects, 1);
      // Closed as the request arrives: what a server does whose own patience ends just then.
      let cuts = 0;
      webhook.answer = (response) => {
        if (cuts++ === 0) response.socket?.resetAndDestroy();
        else says({ sub: "alice" })(response);
      };
      await taken("shop:3");
      assert.equal(webhook.connects, 2);
      assert.equal(webhook.requests.length, 4);
      assert.deepEqual(tokens.inspect()["shop"], {
        ...{ circuit: "closed", underWay: 0, asked: 3, failed: 0, turnedAway: 0 },
      });
    });

    test("over few sockets that are kept, and none for long", async () => {
      tokensWith({ idleSocketsMax: 3, idleMs: 60_000 });
      const held: (() => void)[] = [];
      webhook.answer = (response) => void held.push(() => says({ sub: "alice" })(response));
      const all = Array.from({ length: 12 }, (_, index) => taken(`shop:${index}`));
      await until("all are asked", () => held.length === 12);
      for (const answer of held) answer();
      await Promise.all(all);
      await until("three are left", () => webhook.openSockets === 3);
      tokensWith({ idleMs: 50 });
      webhook.answer = says({ sub: "alice" });
      await taken("shop:t");
      await until("none is left", () => webhook.openSockets === 0);
    });
  });

  describe("decides", () => {
    test("device, exp and jti where it names them; exp within a day", async () => {
      const soon = nowSeconds() + 60;
      webhook.answer = says({ sub: "bob", device: "d1", exp: soon, jti: "j", role: "admin" });
      assert.deepEqual(await taken("shop:t"), {
        ...{ app: "shop", sub: "bob", device: "d1", exp: soon, jti: "j" },
      });
      webhook.answer = says({ sub: "bob", exp: 9e12 });
      const { exp } = await taken("shop:t");
      assert.ok(exp > soon && exp <= nowSeconds() + 86_400);
    });

    test("for its own app alone", async () => {
      webhook.answer = says({ sub: "bob", app: "plain" });
      assert.equal((await taken("shop:t")).app, "shop");
    });

    test("who is refused for good: 401 and 403", async () => {
      for (const status of [401, 403]) {
        webhook.answer = says("no", status);
        assert.equal((await refusalOf("shop:t"))[0], "UNAUTHORIZED");
      }
      assert.equal(told.length, 0, "no news for an operator");
    });

    test("who is to come with a fresh token: an exp that is over", async () => {
      webhook.answer = says({ sub: "bob", exp: nowSeconds() });
      assert.equal((await refusalOf("shop:t"))[0], "TOKEN_EXPIRED");
    });

    test("when one client is to be back, or all of them", async () => {
      webhook.answer = says("", 429, { "retry-after": "7" });
      assert.equal(await hintOf("shop:often"), 7_000);
      webhook.answer = says({ sub: "bob" });
      await taken("shop:other");
      webhook.answer = says("", 503, { "retry-after": "30" });
      assert.equal(await hintOf("shop:t"), 30_000);
      const asked = webhook.requests.length;
      const hintMs = await hintOf("shop:other");
      assert.ok(hintMs > 20_000 && hintMs <= 30_000);
      assert.equal(webhook.requests.length, asked, "it is left alone");
    });
  });

  describe("in place of tokens", () => {
    const claims = () => ({ app: "shop", sub: "carol", exp: nowSeconds() + 60, jti: "j" });
    const signed = (changes = {}) =>
      new JwtTokens({ find: () => undefined }).sign({ ...claims(), ...changes }, newer);

    test("is asked about what the app's secret signed as well", async () => {
      const jwt = await signed();
      assert.equal((await taken(jwt)).sub, "alice");
      assert.equal((await taken(`shop:${jwt}`)).sub, "alice");
      assert.deepEqual(
        webhook.requests.map(({ body }) => body["token"]),
        [jwt, jwt],
      );
      webhook.answer = says("", 403);
      assert.equal((await refusalOf(jwt))[0], "UNAUTHORIZED");
    });

    test("is not asked about other apps' tokens, with their names before them or not", async () => {
      const jwt = await signed({ app: "plain" });
      assert.equal((await taken(jwt)).app, "plain");
      assert.equal((await taken(`plain:${jwt}`)).app, "plain");
      const [code, message] = await refusalOf(`plain:${await signed({ app: "third" })}`);
      assert.deepEqual([code, message.length > 0], ["UNAUTHORIZED", true]);
      register("third", undefined);
      assert.deepEqual(await refusalOf(`plain:${await signed({ app: "third" })}`), [
        "UNAUTHORIZED",
        "the token is another app's",
      ]);
      assert.equal(webhook.requests.length, 0);
    });

    test("is gone at once when the app has none any more, and so is what was held against it", async () => {
      const jwt = await signed();
      webhook.answer = says("", 503, { "retry-after": "30" });
      await hintOf("shop:t");
      const second = await FakeWebhook.start();
      try {
        register("shop", second.url);
        await taken("shop:t");
        assert.equal(second.requests.length, 1);
        register("shop", undefined);
        assert.equal((await taken(jwt)).sub, "carol");
        assert.equal((await refusalOf("shop:t"))[0], "UNAUTHORIZED");
      } finally {
        await second[Symbol.asyncDispose]();
      }
    });

    test("closes the app where its URL does not read", async () => {
      const jwt = await signed();
      records.set("shop", { ...(records.get("shop") as AppRecord), connect: {} });
      await hintOf(jwt);
      await hintOf("shop:t");
      assert.equal(told.length, 1);
    });

    test("gets nothing that names no app, or nothing at all", async () => {
      for (const token of ["opaque", "nobody:opaque", ":opaque", "a b:opaque", "shop:"]) {
        assert.equal((await refusalOf(token))[0], "UNAUTHORIZED", token);
      }
      assert.equal(webhook.requests.length, 0);
    });
  });

  describe("that is hostile or broken", () => {
    const gate = { failuresMax: 1_000 };

    const bad: readonly (readonly [
      name: string,
      answer: FakeWebhook["answer"],
      reason?: RegExp,
    ])[] = [
      ["says nothing for ever", () => undefined, /within 300 ms/],
      ["drips its answer", (response) => drip(response), /within 300 ms/],
      ["answers with more than is read", (response) => flood(response), /above 16384 bytes/],
      [
        "says that it will answer with more",
        (response) => response.writeHead(200, { "content-length": "9999999" }).end("{"),
      ],
      [
        "ends in the middle",
        (response) => response.writeHead(200, { "content-length": "40" }) && cut(response),
      ],
      ["resets the connection", (response) => response.socket?.resetAndDestroy()],
      ["closes the connection", (response) => response.socket?.destroy()],
      ["answers with garbage", says("<html>")],
      ["answers with a list", says([])],
      [
        "answers with text that is none",
        (response) => response.writeHead(200).end(Buffer.from([0xff, 0xfe])),
      ],
      ["names no user", says({})],
      ["names a user too long", says({ sub: "x".repeat(200) })],
      ["names half a character", says('{"sub":"\\ud800"}')],
      ["names a device too long", says({ sub: "a", device: "d".repeat(65) })],
      ["gives an endless exp", says('{"sub":"a","exp":1e999}')],
      ["gives a text as exp", says({ sub: "a", exp: "soon" })],
      ["fails", says("", 500)],
      ["is not found", says("", 404)],
      ["is a proxy whose server is gone", says("", 502)],
      ["has moved", says("", 302, { location: "http://127.0.0.1:9/" })],
      ["wants another protocol", says("", 101)],
      ["has headers without end", says("", 200, { "x-long": "x".repeat(10_000) })],
    ];
    for (const [name, answer, reason = /./] of bad) {
      test(`${name}: the client is to come back`, async () => {
        const isSilent = reason.source.includes("within");
        tokensWith(isSilent ? { deadlineMs: 300 } : {}, gate);
        webhook.answer = answer;
        const hintMs = await hintOf("shop:t");
        assert.equal(hintMs, 2_000);
        assert.equal(told.length, 1, "an operator is told");
        assert.match(String(told[0]?.fields["reason"]), reason);
        tokensWith({}, gate);
        webhook.answer = says({ sub: "alice" });
        await taken("shop:t");
        await until("no socket of it is left", () => webhook.openSockets <= 1);
      });
    }

    test("follows no redirect", async () => {
      const elsewhere = await FakeWebhook.start();
      try {
        for (const status of [301, 302, 307, 308]) {
          webhook.answer = says("", status, { location: elsewhere.url });
          await hintOf("shop:t");
        }
        assert.equal(elsewhere.requests.length, 0);
      } finally {
        await elsewhere[Symbol.asyncDispose]();
      }
    });

    test("speaks no HTTP, or is not there", async () => {
      const sockets = new Set<Socket>();
      const server = createTcpServer((socket) => {
        sockets.add(socket.on("error", () => undefined));
        socket.write("SSH-2.0-nothing here\r\n");
      });
      await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
      const { port } = server.address() as { port: number };
      register("shop", `http://127.0.0.1:${port}/`);
      await hintOf("shop:t");
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
      await hintOf("shop:t");
    });

    test("is left alone after failures in a row, tried by one, and taken up again", async () => {
      tokensWith({}, { failuresMax: 3, trialMs: 2_000 });
      webhook.answer = says("", 502);
      for (let count = 0; count < 3; count++) await hintOf(`shop:${count}`);
      assert.ok((await hintOf("shop:t")) > 0);
      const asked = webhook.requests.length;
      assert.equal(asked, 3);
      webhook.answer = says({ sub: "alice" });
      await until("it is tried", async () => (await tokens.verify("shop:t")).ok);
      assert.equal(webhook.requests.length, asked + 1);
      await taken("shop:next");
      assert.deepEqual(
        told.map(({ event }) => event),
        [
          "a connect webhook failed",
          "a connect webhook is left alone",
          "a connect webhook answers again",
        ],
      );
    });

    // What any client could send, again and again, to have nobody let in.
    test("is not shut by a token that it fails on", async () => {
      tokensWith({}, { failuresMax: 2 });
      for (const answer of [says("", 500), says("<html>"), says({}), says("", 400)]) {
        webhook.answer = answer;
        for (let count = 0; count < 5; count++) await hintOf(`shop:${count}`);
      }
      webhook.answer = says({ sub: "alice" });
      await taken("shop:t");
    });

    test("holds up no other app: those are let in while it answers nobody at all", async () => {
      tokensWith({ deadlineMs: 600_000 });
      const stuck = await FakeWebhook.start();
      stuck.answer = () => undefined;
      register("stuck", stuck.url);
      const hanging = Array.from({ length: 2_000 }, (_, index) => tokens.verify(`stuck:${index}`));
      const ended = { count: 0 };
      for (const each of hanging) void each.then(() => ended.count++);
      const sent = () => stuck.requests.length;
      await until("as many hang as may", () => sent() >= defaultWebhookLimits.nodeMax / 5);
      await Promise.all(Array.from({ length: 80 }, (_, index) => taken(`shop:${index}`)));
      assert.equal(sent(), Math.ceil(defaultWebhookLimits.nodeMax / 5), "and no more of it");
      const { stuck: seen } = tokens.inspect() as { stuck: { underWay: number } };
      assert.equal(seen.underWay, sent(), "all of it still hangs");
      assert.equal(ended.count, hanging.length - sent(), "the others were sent away at once");
      await stuck[Symbol.asyncDispose]();
      await Promise.all(hanging);
      assert.equal((tokens.inspect() as { stuck: { underWay: number } }).stuck.underWay, 0);
    });

    test("whose name nobody resolves takes one look-up, and holds up no other app", async () => {
      const looked: string[] = [];
      const lookup: LookupFunction = (hostname, options, callback) => {
        looked.push(hostname);
        if (hostname === "hangs.example") return;
        const address = "127.0.0.1";
        if (options.all) callback(null, [{ address, family: 4 }]);
        else callback(null, address, 4);
      };
      tokensWith({ deadlineMs: 4_000 }, gate, lookup);
      register("lost", "http://hangs.example/");
      register("shop", webhook.url.replace("127.0.0.1", "shop.example"));
      const lost = Array.from({ length: 20 }, (_, index) => hintOf(`lost:${index}`));
      await taken("shop:t");
      await Promise.all(lost);
      assert.deepEqual(
        looked.filter((name) => name === "hangs.example"),
        ["hangs.example"],
      );
    });
  });
});

function drip(response: Parameters<FakeWebhook["answer"]>[0]): void {
  response.writeHead(200, { "content-type": "application/json" });
  const timer = setInterval(() => response.write(" "), 10);
  response.on("close", () => clearInterval(timer));
}

function flood(response: Parameters<FakeWebhook["answer"]>[0]): void {
  response.writeHead(200);
  const more = (): void => {
    while (!response.destroyed && response.write("x".repeat(16_384)));
  };
  response.on("drain", more);
  more();
}

function cut(response: Parameters<FakeWebhook["answer"]>[0]): void {
  // What came would do, if it were all.
  response.write('{"sub":"alice"}');
  response.socket?.end();
}
