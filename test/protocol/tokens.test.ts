/** A name has one token and a token one name; NATS can carry every token. */
import { equal, match, notEqual } from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { decodeToken, encodeToken, isCanonicalToken } from "../../src/protocol/tokens.js";

describe("tokens", () => {
  const named: [name: string, token: string][] = [
    ["alice", "alice"],
    ["alice@example.com", "alice@example%2Ecom"],
    ["a b", "a%20b"],
    ["", "%"],
    ["%", "%25"],
    ["%41", "%2541"],
    ["*", "%2A"],
    [">", "%3E"],
    [".", "%2E"],
    ["\n", "%0A"],
    ["ä", "%C3%A4"],
    ["用户", "%E7%94%A8%E6%88%B7"],
    ["😀", "%F0%9F%98%80"],
    ["a/b\\c", "a%2Fb%5Cc"],
  ];
  for (const [name, token] of named) {
    test(`carries ${JSON.stringify(name)} as ${token}`, () => {
      equal(encodeToken(name), token);
      equal(decodeToken(token), name);
    });
  }

  const others: [why: string, token: string][] = [
    ["nothing at all, which is no token", ""],
    ["an escape of what needs none", "%61lice"],
    ["small hexadecimal digits", "%c3%a4"],
    ["an escape that is cut off", "a%2"],
    ["a percent sign by itself beside others", "a%"],
    ["an escape that is no UTF-8", "%FF"],
    ["UTF-8 longer than needed", "%C0%AE"],
    ["half a surrogate pair", "%ED%A0%80"],
    ["a bare dot", "a.b"],
    ["a bare space", "a b"],
    ["a bare wildcard", "*"],
    ["bare non-ASCII", "ä"],
    ["the empty name's sign twice", "%%"],
  ];
  for (const [why, token] of others) {
    test(`refuses ${why}`, () => {
      equal(decodeToken(token), undefined);
      equal(isCanonicalToken(token), false);
    });
  }

  test("give every name back, in characters that NATS carries", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary" }), (name) => {
        const token = encodeToken(name);
        match(token, /^[\x21-\x7e]+$/);
        equal(/[.*>\s]/.test(token), false);
        equal(decodeToken(token), name);
        equal(isCanonicalToken(token), true);
      }),
      { numRuns: 2_000 },
    );
  });

  test("differ when the names differ", () => {
    const name = fc.string({ unit: "binary", maxLength: 3 });
    fc.assert(
      fc.property(name, name, (one, other) => {
        fc.pre(one !== other);
        notEqual(encodeToken(one), encodeToken(other));
      }),
      { numRuns: 2_000 },
    );
  });

  test("that are read are those that are written", () => {
    const character = fc.constantFrom(...'%0123456789ABCDEFabcdef.*> ~$"ä');
    fc.assert(
      fc.property(fc.string({ unit: character, maxLength: 9 }), (token) => {
        const name = decodeToken(token);
        if (name !== undefined) equal(encodeToken(name), token);
      }),
      { numRuns: 5_000 },
    );
  });
});
