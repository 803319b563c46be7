/** The request that opens a WebSocket, read strictly, in any pieces, without a socket. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import {
  chooseSubprotocol,
  findHead,
  headBytesMax,
  headersOf,
  refusalAnswer,
  refusalOf,
  upgradeAnswer,
} from "../../src/drivers/http-upgrade.js";

const lines = [
  "GET /connect HTTP/1.1",
  "Host: edge",
  "Connection: keep-alive, Upgrade",
  "Upgrade: WebSocket",
  "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
  "Sec-WebSocket-Version: 13",
];

function request(changed: readonly string[] = lines): Buffer {
  return Buffer.from(`${changed.join("\r\n")}\r\n\r\n`, "latin1");
}

/** With the line that begins so replaced by others, or by none. */
function withLine(start: string, ...by: readonly string[]): Buffer {
  assert.ok(lines.some((line) => line.startsWith(start)));
  return request(lines.flatMap((line) => (line.startsWith(start) ? by : [line])));
}

/** What comes of it: the status of a refusal, or what else it is. */
function verdict(bytes: Buffer): string | number {
  const found = findHead(bytes, 0);
  if (found.kind === "refused") return found.refusal.status;
  if (found.kind !== "upgrade") return found.kind;
  return refusalOf(found.head, "/connect")?.status ?? "accepted";
}

describe("upgrade request", () => {
  test("is accepted with the answer that the RFC computes", () => {
    const found = findHead(Buffer.concat([request(), Buffer.from("rest")]), 0);
    assert.ok(found.kind === "upgrade");
    assert.equal(found.end, request().length);
    assert.equal(refusalOf(found.head, "/connect"), undefined);
    assert.equal(
      upgradeAnswer(found.head, chooseSubprotocol(found.head)),
      "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
        "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
    );
  });

  const verdicts: readonly (readonly [what: string, bytes: Buffer, verdict: string | number])[] = [
    ["a query behind the path", withLine("GET", "GET /connect?a=b HTTP/1.1"), "accepted"],
    ["an absolute target", withLine("GET", "GET http://edge/connect HTTP/1.1"), "accepted"],
    ["an empty header", request([...lines, "X-Empty:"]), "accepted"],
    ["100 headers", request([...lines, ...Array<string>(95).fill("X: 1")]), "accepted"],
    ["101 headers", request([...lines, ...Array<string>(96).fill("X: 1")]), 431],
    ["another path", withLine("GET", "GET /connected HTTP/1.1"), 404],
    ["a target that is no URL", withLine("GET", "GET // HTTP/1.1"), 400],
    ["a target with a space", withLine("GET", "GET /con nect HTTP/1.1"), 400],
    ["no version", withLine("GET", "GET /connect"), 400],
    ["HTTP/1.0", withLine("GET", "GET /connect HTTP/1.0"), 400],
    ["HTTP/2.0", withLine("GET", "GET /connect HTTP/2.0"), 400],
    ["another method", withLine("GET", "PUT /connect HTTP/1.1"), "other"],
    ["no upgrade", withLine("Upgrade"), "other"],
    ["no upgrade by its connection", withLine("Connection", "Connection: close"), "other"],
    ["an upgrade to another protocol", withLine("Upgrade", "Upgrade: h2c"), 400],
    ["no version of the protocol", withLine("Sec-WebSocket-Version"), 426],
    ["another version of it", withLine("Sec-WebSocket-V", "Sec-WebSocket-Version: 8"), 426],
    ["no key", withLine("Sec-WebSocket-Key"), 400],
    ["a key too short", withLine("Sec-WebSocket-Key", "Sec-WebSocket-Key: c2hvcnQ="), 400],
    ["two keys", request([...lines, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="]), 400],
    ["no host", withLine("Host"), 400],
    ["two hosts", request([...lines, "Host: other"]), 400],
    ["a body by its length", request([...lines, "Content-Length: 5"]), 400],
    ["no body by its length", request([...lines, "Content-Length: 0"]), "accepted"],
    ["a chunked body", request([...lines, "Transfer-Encoding: chunked"]), 400],
    ["a folded header", request([...lines, "X: 1", " folded"]), 400],
    ["a blank before the colon", request([...lines, "X : 1"]), 400],
    ["no colon", request([...lines, "X"]), 400],
    ["no name", request([...lines, ": 1"]), 400],
    ["a NUL", request([...lines, "X: a\0b"]), 400],
    ["a bare line feed", request([...lines, "X: a\nY: b"]), 400],
    ["a bare carriage return", request([...lines, "X: a\rb"]), 400],
    ["nothing", Buffer.alloc(0), "incomplete"],
    ["a part of the method", Buffer.from("GE"), "incomplete"],
    ["another first letter", Buffer.from("P"), "other"],
    ["a TLS hello", Buffer.from([0x16, 0x03, 0x01]), "other"],
    ["half a head", request().subarray(0, 40), "incomplete"],
    ["an endless head", Buffer.alloc(headBytesMax + 1, "GET "), "other"],
  ];
  for (const [what, bytes, expected] of verdicts) {
    test(`with ${what}: ${expected}`, () => assert.equal(verdict(bytes), expected));
  }

  test("gets the same verdict however it is cut, and never throws", () => {
    const valid = fc.constantFrom(...verdicts.map(([, bytes]) => bytes));
    const changed = fc
      .tuple(valid, fc.nat(), fc.uint8Array({ maxLength: 4 }))
      .map(([bytes, position, by]) => {
        const at = position % (bytes.length + 1);
        return Buffer.concat([bytes.subarray(0, at), by, bytes.subarray(at + by.length)]);
      });
    fc.assert(
      fc.property(changed, fc.array(fc.nat(1_000), { maxLength: 4 }), (bytes, cuts) => {
        let from = 0;
        for (const cut of [...cuts.sort((a, b) => a - b), bytes.length]) {
          const some = bytes.subarray(0, cut);
          const found = findHead(some, from);
          from = some.length;
          if (found.kind === "incomplete") continue;
          assert.deepEqual(found, findHead(bytes, 0));
          return;
        }
        assert.equal(findHead(bytes, 0).kind, "incomplete");
      }),
      { numRuns: 2_000 },
    );
  });

  test("takes the headers as Node's parser tells them", () => {
    const headers = headersOf(["Host", "edge", "X", "1", "x", "2"]);
    assert.deepEqual(
      [...headers],
      [
        ["host", "edge"],
        ["x", "1, 2"],
      ],
    );
  });

  test("is refused with all that the refusal says", () => {
    const answer = refusalAnswer({ status: 503, reason: "full", retryAfterSeconds: 5 });
    assert.equal(
      answer,
      "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nConnection: close\r\n" +
        "Content-Type: text/plain\r\nContent-Length: 4\r\n\r\nfull",
    );
  });
});
