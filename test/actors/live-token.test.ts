/** A connection's token while it lasts, on virtual time: its end, fresh ones, and whose they are. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { defaultLimits } from "../../actors/limits.js";
import { accepted, refused } from "../../src/base/result.js";
import type { TokenHolder, TokenVerifier } from "../../src/ports/tokens.js";
import { closeCodes } from "../../src/protocol/close-codes.js";
import { clientKinds, serverKinds } from "../../src/protocol/frames.js";
import type { BenchClient } from "../support/bench-edge.js";
import { NodeBench } from "../support/node-bench.js";

const { tokenGraceMs, tokenNoticeMs } = defaultLimits;
const second = 1_000;
/** The edge looks once a second. */
const lookMs = second;

const nowSeconds = (bench: NodeBench) => Math.floor(bench.clock.wallMs() / second);
const tokenOf = (claims: object) => JSON.stringify({ app: "demo", sub: "alice", ...claims });

/** Answers pings, as a client does. */
async function alive(bench: NodeBench, client: BenchClient, ms: number): Promise<void> {
  for (let left = ms; left > 0; left -= 10 * second) {
    client.send([clientKinds.pong, 1]);
    await bench.run(Math.min(left, 10 * second));
  }
}

async function attached(bench: NodeBench, claims: object): Promise<BenchClient> {
  const client = bench.node("a").edge.connect("alice", "phone", { token: tokenOf(claims) });
  await bench.until("it is attached", () => client.isAttached);
  return client;
}

const wanted = (client: BenchClient) =>
  client.others.filter(([kind]) => kind === serverKinds.tokenWanted);
const refusals = (client: BenchClient) =>
  client.others.filter(([kind]) => kind === serverKinds.refused).map(([, , code]) => code);

describe("a token on a live connection", () => {
  test("is asked for once before its end, and closes the connection some time after it", async () => {
    const bench = await NodeBench.start(["a"]);
    const lifeMs = 100 * second;
    const client = await attached(bench, { exp: nowSeconds(bench) + lifeMs / second });
    await alive(bench, client, lifeMs - tokenNoticeMs - 2 * lookMs);
    assert.equal(wanted(client).length, 0);
    await alive(bench, client, 4 * lookMs);
    assert.equal(wanted(client).length, 1);
    const [, , expiresInMs] = wanted(client)[0] as number[];
    assert.ok((expiresInMs ?? 0) > 0 && (expiresInMs ?? 0) <= tokenNoticeMs);
    await alive(bench, client, tokenNoticeMs + tokenGraceMs - 6 * lookMs);
    assert.equal(client.closedWith, undefined, "within the grace");
    await alive(bench, client, 8 * lookMs);
    assert.equal(client.closedWith, closeCodes.TOKEN_EXPIRED.code);
    assert.equal(wanted(client).length, 1);
  });

  test("is followed by a fresh one, which counts from then on", async () => {
    const bench = await NodeBench.start(["a"]);
    const client = await attached(bench, { exp: nowSeconds(bench) + 30 });
    for (const life of [60, 90]) {
      const exp = nowSeconds(bench) + life;
      client.send([clientKinds.token, 0, tokenOf({ exp, device: "phone" })]);
      await alive(bench, client, 40 * second);
      assert.equal(client.closedWith, undefined);
    }
    await alive(bench, client, 100 * second);
    assert.equal(client.closedWith, closeCodes.TOKEN_EXPIRED.code);
  });

  const others: readonly (readonly [name: string, claims: object])[] = [
    ["another user", { sub: "bob" }],
    ["another device", { device: "laptop" }],
    ["another app", { app: "other" }],
  ];
  for (const [name, claims] of others) {
    test(`for ${name} ends it`, async () => {
      const bench = await NodeBench.start(["a"]);
      const client = await attached(bench, {});
      client.send([clientKinds.token, 0, tokenOf(claims)]);
      await bench.until("it is closed", () => client.closedWith !== undefined);
      assert.equal(client.closedWith, closeCodes.UNAUTHORIZED.code);
    });
  }

  test("that is refused, or cannot be checked, leaves what it had", async () => {
    const bench = await NodeBench.start(["a"]);
    const client = await attached(bench, { exp: nowSeconds(bench) + 60 });
    const codes = ["UNAUTHORIZED", "TOKEN_EXPIRED", "AUTH_UNAVAILABLE"] as const;
    for (const code of codes) {
      verifying(bench, async () => refused(code, "no"));
      client.send([clientKinds.token, 0, "t"]);
      await bench.run(100);
    }
    assert.deepEqual(refusals(client), codes);
    await alive(bench, client, 60 * second);
    assert.equal(client.closedWith, undefined);
    await alive(bench, client, tokenGraceMs + lookMs);
    assert.equal(client.closedWith, closeCodes.TOKEN_EXPIRED.code);
  });

  // Each costs a request to the app's webhook: a client could have had any number under way.
  test("is checked one at a time", async () => {
    const bench = await NodeBench.start(["a"]);
    const client = await attached(bench, {});
    const asked: (() => void)[] = [];
    const claims = { app: "demo", sub: "alice", jti: "", exp: 2 ** 40 };
    verifying(bench, () => new Promise((done) => asked.push(() => done(accepted(claims)))));
    for (let count = 0; count < 100; count++) client.send([clientKinds.token, 0, `t${count}`]);
    await bench.run(100);
    assert.equal(asked.length, 1);
    assert.deepEqual([...new Set(refusals(client)), refusals(client).length], ["RATE_LIMITED", 99]);
    asked[0]?.();
    await bench.run(100);
    client.send([clientKinds.token, 0, "next"]);
    await bench.run(100);
    assert.equal(asked.length, 2);
  });

  test("is checked for whom it is, as far as the edge knows", async () => {
    const bench = await NodeBench.start(["a"]);
    const holders: (TokenHolder | undefined)[] = [];
    const { verify } = bench.node("a").context.tokens;
    verifying(bench, (token, holder) => {
      holders.push(holder);
      return verify(token);
    });
    const { edge } = bench.node("a");
    const client = edge.connect("alice", "phone", { platform: "ios" });
    await bench.until("it is attached", () => client.isAttached);
    client.send([clientKinds.token, 0, tokenOf({})]);
    await bench.run(100);
    assert.deepEqual(holders, [{ device: "phone", platform: "ios" }, { device: "phone" }]);
  });
});

function verifying(bench: NodeBench, verify: TokenVerifier["verify"]): void {
  Object.assign(bench.node("a").context.tokens, { verify });
}
