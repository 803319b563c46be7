/** Tokens: who is let in, who is not, and that nothing a client sends throws. */
import { deepEqual, equal, match, ok } from "node:assert/strict";
import { createHmac, generateKeyPairSync, sign as signWith } from "node:crypto";
import { describe, test } from "node:test";
import fc from "fast-check";
import { JwtTokens, routesMax, tokenBytesMax } from "../../src/drivers/jwt-tokens.js";
import type { Claims } from "../../src/ports/tokens.js";
import { type AppRecord, appRecordVersion } from "../../src/protocol/app-record.js";
import { VirtualClock } from "../support/virtual-clock.js";

const older = { kid: "older", secret: "o".repeat(43) };
const newer = { kid: "newer", secret: "n".repeat(43) };

const shop: AppRecord = {
  v: appRecordVersion,
  app: "shop",
  secrets: [newer, older],
  delivery: "each-device",
  createdAtMs: 0,
};

const clock = new VirtualClock();
const nowSeconds = Math.floor(clock.wallMs() / 1000);
const claims: Claims = { app: "shop", sub: "alice", exp: nowSeconds + 60, jti: "j1" };

function tokensOf(...records: AppRecord[]): JwtTokens {
  return new JwtTokens({ find: (app) => records.find((record) => record.app === app) }, clock);
}

const tokens = tokensOf(shop);
const manyRoutes = Array.from({ length: routesMax + 1 }, (_, at) => `r${at}`);

/** By hand, so that it can be wrong in any way. */
function makeToken(header: unknown, payload: unknown, secret = newer.secret): string {
  const input = `${part(header)}.${part(payload)}`;
  return `${input}.${createHmac("sha256", secret).update(input).digest("base64url")}`;
}

function part(value: unknown): string {
  const text = typeof value === "string" ? value : JSON.stringify(value);
  return Buffer.from(text).toString("base64url");
}

async function refusalOf(token: string, verifier = tokens): Promise<[string, string]> {
  const verdict = await verifier.verify(token);
  ok(!verdict.ok, "the token was taken");
  return [verdict.code, verdict.message];
}

describe("a token", () => {
  test("is taken when a live secret of its app signed it", async () => {
    deepEqual(await tokens.verify(await tokens.sign(claims, newer)), { ok: true, value: claims });
  });

  test("carries the device it is bound to", async () => {
    const bound = { ...claims, device: "phone-1" };
    deepEqual(await tokens.verify(await tokens.sign(bound, newer)), { ok: true, value: bound });
  });

  test("carries the routes that its bearer may call, none among them", async () => {
    for (const routes of [["orders", "chat.v1"], [], Array(routesMax).fill("é".repeat(32))]) {
      const bound = { ...claims, device: "phone-1", routes };
      deepEqual(await tokens.verify(await tokens.sign(bound, newer)), { ok: true, value: bound });
    }
  });

  test("may come from any library that signs with the secret's text", async () => {
    deepEqual(await tokens.verify(makeToken({ alg: "HS256" }, claims)), {
      ok: true,
      value: claims,
    });
  });

  test("may carry claims that Belfry does not know", async () => {
    const more = { ...claims, iss: "https://shop.example", role: { admin: true } };
    deepEqual(await tokens.verify(makeToken({ alg: "HS256", kid: "newer" }, more)), {
      ok: true,
      value: claims,
    });
  });

  test("is refused as expired from its last second on", async () => {
    const token = await tokens.sign({ ...claims, exp: nowSeconds }, newer);
    equal((await refusalOf(token))[0], "TOKEN_EXPIRED");
  });

  test("is refused as forged, not as expired, when it is both", async () => {
    const token = makeToken({ alg: "HS256", kid: "newer" }, { ...claims, exp: 1 }, "guess");
    equal((await refusalOf(token))[0], "UNAUTHORIZED");
  });

  test("is refused before the time it names itself", async () => {
    const token = makeToken({ alg: "HS256" }, { ...claims, nbf: nowSeconds + 30 });
    equal((await refusalOf(token))[0], "UNAUTHORIZED");
  });
});

describe("a check that fails by itself", () => {
  // It is awaited without a catch: a rejection would be an uncaught one, and no answer.
  test("is refused so that the client comes back, and told", async () => {
    const broken = new Error("the registry is broken");
    const told: unknown[] = [];
    const throwing = {
      find: () => {
        throw broken;
      },
    };
    const verifier = new JwtTokens(throwing, clock, (error) => told.push(error));
    const token = await tokens.sign(claims, newer);
    equal((await refusalOf(token, verifier))[0], "TOKEN_EXPIRED");
    equal((await refusalOf(token, new JwtTokens(throwing, clock)))[0], "TOKEN_EXPIRED");
    deepEqual(told, [broken]);
  });

  test("is refused also for a record or a clock that is none", async () => {
    const records = { find: () => ({ ...shop, secrets: [{ kid: "newer", secret: 7 }] }) };
    const verifier = new JwtTokens(records as never, clock);
    const token = await tokens.sign(claims, newer);
    equal((await verifier.verify(token)).ok, false);
    const timeless = new JwtTokens({ find: () => shop }, { wallMs: () => Number.NaN } as never);
    equal((await timeless.verify(token)).ok, false);
  });
});

describe("a secret", () => {
  test("of the two live ones is found by kid, or tried where the token has none", async () => {
    for (const secret of shop.secrets) {
      ok((await tokens.verify(await tokens.sign(claims, secret))).ok, secret.kid);
      ok((await tokens.verify(makeToken({ alg: "HS256" }, claims, secret.secret))).ok, secret.kid);
    }
  });

  test("does not vouch under the other one's kid", async () => {
    const token = makeToken({ alg: "HS256", kid: "newer" }, claims, older.secret);
    deepEqual(await refusalOf(token), [
      "UNAUTHORIZED",
      "the token's signature does not fit the app's secret",
    ]);
  });

  test("that was rotated out no longer counts", async () => {
    let record = shop;
    const verifier = new JwtTokens({ find: () => record }, clock);
    const token = await verifier.sign(claims, older);
    ok((await verifier.verify(token)).ok);
    record = { ...shop, secrets: [{ kid: "newest", secret: "x".repeat(43) }, newer] };
    equal((await refusalOf(token, verifier))[0], "UNAUTHORIZED");
  });

  test("that changed under the same kid no longer counts", async () => {
    let record = shop;
    const verifier = new JwtTokens({ find: () => record }, clock);
    const token = await verifier.sign(claims, newer);
    ok((await verifier.verify(token)).ok);
    record = { ...shop, secrets: [{ kid: "newer", secret: "y".repeat(43) }] };
    equal((await refusalOf(token, verifier))[0], "UNAUTHORIZED");
  });

  test("that is empty vouches for nothing", async () => {
    const open = { ...shop, secrets: [{ kid: "newer", secret: "" }] };
    const token = makeToken({ alg: "HS256", kid: "newer" }, claims, "");
    equal((await refusalOf(token, tokensOf(open)))[0], "UNAUTHORIZED");
  });

  test("of another app vouches for nothing", async () => {
    const other = { ...shop, app: "other", secrets: [{ kid: "newer", secret: "z".repeat(43) }] };
    const token = makeToken({ alg: "HS256", kid: "newer" }, claims, "z".repeat(43));
    equal((await refusalOf(token, tokensOf(shop, other)))[0], "UNAUTHORIZED");
  });
});

describe("a token is refused", () => {
  const header = { alg: "HS256", kid: "newer" };
  const without = (name: keyof Claims) => ({ ...claims, [name]: undefined });
  const cases: readonly (readonly [name: string, token: string, message: RegExp])[] = [
    ["when it is empty", "", /missing/],
    ["without sub", makeToken(header, without("sub")), /sub/],
    ["without exp", makeToken(header, without("exp")), /exp/],
    ["without jti", makeToken(header, without("jti")), /jti/],
    ["without app", makeToken(header, without("app")), /app/],
    ["with an empty sub", makeToken(header, { ...claims, sub: "" }), /sub/],
    ["with a number as sub", makeToken(header, { ...claims, sub: 7 }), /sub/],
    ["with a sub too long", makeToken(header, { ...claims, sub: "ü".repeat(22) }), /sub/],
    [
      "with half a character",
      makeToken(header, `{"app":"shop","sub":"\\ud800","exp":9e9,"jti":"j"}`),
      /sub/,
    ],
    ["with a text as exp", makeToken(header, { ...claims, exp: "soon" }), /exp/],
    [
      "with an endless exp",
      makeToken(header, `{"app":"shop","sub":"a","exp":1e999,"jti":"j"}`),
      /exp/,
    ],
    ["with an empty jti", makeToken(header, { ...claims, jti: "" }), /jti/],
    ["with a map as app", makeToken(header, { ...claims, app: {} }), /app/],
    ["with a number as device", makeToken(header, { ...claims, device: 1 }), /device/],
    ["with a device too long", makeToken(header, { ...claims, device: "d".repeat(65) }), /device/],
    ["with a text as routes", makeToken(header, { ...claims, routes: "orders" }), /routes/],
    ["with a number as a route", makeToken(header, { ...claims, routes: ["a", 1] }), /routes/],
    ["with an empty route", makeToken(header, { ...claims, routes: [""] }), /routes/],
    ["with a route too long", makeToken(header, { ...claims, routes: ["é".repeat(33)] }), /routes/],
    ["with too many routes", makeToken(header, { ...claims, routes: manyRoutes }), /routes/],
    ["of an unknown app", makeToken(header, { ...claims, app: "nobody" }), /registered/],
    ["of an unknown kid", makeToken({ alg: "HS256", kid: "no" }, claims), /kid/],
    ["with a number as kid", makeToken({ alg: "HS256", kid: 1 }, claims), /kid/],
    ["with alg none", `${part({ alg: "none" })}.${part(claims)}.`, /HS256/],
    ["with alg None", makeToken({ alg: "None" }, claims), /HS256/],
    ["with HS512", makeToken({ alg: "HS512" }, claims), /HS256/],
    ["without alg", makeToken({}, claims), /HS256/],
    [
      "with an unknown critical header",
      makeToken({ ...header, crit: ["x"], x: 1 }, claims),
      /valid/,
    ],
    ["without its signature", makeToken(header, claims).replace(/[^.]+$/, ""), /signature/],
    ["with one part too many", `${makeToken(header, claims)}.x`, /Web Token/],
    ["when it is too long", "a".repeat(tokenBytesMax + 1), /longer/],
    ["with a payload that is a list", makeToken(header, []), /Web Token/],
  ];
  for (const [name, token, message] of cases) {
    test(name, async () => {
      const [code, text] = await refusalOf(token);
      equal(code, "UNAUTHORIZED");
      match(text, message);
    });
  }

  test("when a key pair signed it", async () => {
    const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
    const input = `${part({ alg: "RS256", kid: "newer" })}.${part(claims)}`;
    const signature = signWith("sha256", Buffer.from(input), privateKey).toString("base64url");
    equal((await refusalOf(`${input}.${signature}`))[0], "UNAUTHORIZED");
  });

  test("whatever its bytes are", async () => {
    const signed = await tokens.sign(claims, newer);
    const garbage = fc.oneof(
      fc.string({ maxLength: 200 }),
      fc.string({ unit: "binary", maxLength: 200 }),
      fc.tuple(fc.json(), fc.json(), fc.base64String()).map(([head, body, end]) => {
        return `${part(head)}.${part(body)}.${end}`;
      }),
      fc.json().map((body) => makeToken(header, body, "guess")),
      // One character of a good token replaced; the last one has bits that count for nothing.
      fc
        .tuple(fc.nat(signed.length - 2), fc.constantFrom(..."AZaz09-_.=\u0000é"))
        .filter(([at, character]) => signed[at] !== character)
        .map(([at, character]) => signed.slice(0, at) + character + signed.slice(at + 1)),
    );
    await fc.assert(
      fc.asyncProperty(garbage, async (token) => {
        equal((await tokens.verify(token)).ok, false);
      }),
      { numRuns: 2000 },
    );
  });

  test("whatever a signed payload holds instead of claims", async () => {
    await fc.assert(
      fc.asyncProperty(fc.dictionary(fc.string(), fc.jsonValue()), async (payload) => {
        const verdict = await tokens.verify(makeToken(header, { app: "shop", ...payload }));
        equal(verdict.ok, false);
      }),
      { numRuns: 500 },
    );
  });
});
