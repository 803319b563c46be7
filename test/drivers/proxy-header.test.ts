/** What a proxy says of a connection, byte for byte, and what is no such thing. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { addressNumber } from "../../src/base/address-ranges.js";
import { readProxyHeader } from "../../src/drivers/proxy-header.js";
import { binaryHeader, overTcp4, overTcp6 } from "../support/proxy-headers.js";

const text = (line: string) => Buffer.from(line, "latin1");
const four = binaryHeader(0x21, 0x11, overTcp4);

const good: readonly (readonly [what: string, bytes: Buffer, address: string | undefined])[] = [
  ["IPv4 in text", text("PROXY TCP4 203.0.113.9 10.0.0.1 4711 443\r\n"), "203.0.113.9"],
  ["IPv6 in text", text("PROXY TCP6 2001:db8::5 fd00::1 4711 443\r\n"), "2001:db8::5"],
  ["unknown in text", text("PROXY UNKNOWN\r\n"), undefined],
  ["unknown with more", text("PROXY UNKNOWN ffff::1 ::1 1 2\r\n"), undefined],
  ["the longest line", text(`PROXY UNKNOWN ${"x".repeat(107 - 16)}\r\n`), undefined],
  ["IPv4 in binary", four, "203.0.113.9"],
  ["IPv6 in binary", binaryHeader(0x21, 0x21, overTcp6), "2001:db8:0:0:0:0:0:5"],
  ["more behind the addresses", binaryHeader(0x21, 0x11, overTcp4, 300), "203.0.113.9"],
  ["the proxy itself", binaryHeader(0x20, 0x00, Buffer.alloc(0)), undefined],
  ["the proxy itself, with addresses", binaryHeader(0x20, 0x11, overTcp4), undefined],
  ["no family", binaryHeader(0x21, 0x00, Buffer.alloc(7)), undefined],
];

const badOnes: readonly (readonly [what: string, bytes: Buffer])[] = [
  ["a request", text("GET / HTTP/1.1\r\n")],
  ["TLS", Buffer.from("160301", "hex")],
  ["another family", text("PROXY UDP4 203.0.113.9 10.0.0.1 1 2\r\n")],
  ["no family", text("PROXY \r\n")],
  ["a name", text("PROXY TCP4 client 10.0.0.1 4711 443\r\n")],
  ["the other family's address", text("PROXY TCP4 ::1 ::1 4711 443\r\n")],
  ["a mapped one as IPv4", text("PROXY TCP6 203.0.113.9 10.0.0.1 4711 443\r\n")],
  ["no destination", text("PROXY TCP4 203.0.113.9 4711 443\r\n")],
  ["a port too large", text("PROXY TCP4 203.0.113.9 10.0.0.1 65536 443\r\n")],
  ["a port too many", text("PROXY TCP4 203.0.113.9 10.0.0.1 1 2 3\r\n")],
  ["two spaces", text("PROXY TCP4  203.0.113.9 10.0.0.1 1 2\r\n")],
  ["a line without end", text(`PROXY UNKNOWN ${"x".repeat(100)}\r\n`)],
  ["another version", binaryHeader(0x31, 0x11, overTcp4)],
  ["another command", binaryHeader(0x22, 0x11, overTcp4)],
  ["another family in binary", binaryHeader(0x21, 0x31, Buffer.alloc(216))],
  ["addresses cut off", binaryHeader(0x21, 0x11, overTcp4.subarray(1))],
  ["IPv6 cut off", binaryHeader(0x21, 0x21, overTcp6.subarray(1))],
  ["more than is read", binaryHeader(0x21, 0x11, overTcp4, 5_000)],
];

describe("a proxy's header", () => {
  for (const [what, bytes, address] of good) {
    test(`is ${what}, however it is cut and whatever follows`, () => {
      const expected = { kind: "read", end: bytes.length, address };
      assert.deepEqual(readProxyHeader(bytes), expected);
      assert.deepEqual(readProxyHeader(Buffer.concat([bytes, text("PROXY \r\n")])), expected);
      for (let cut = 0; cut < bytes.length; cut++) {
        assert.deepEqual(readProxyHeader(bytes.subarray(0, cut)), { kind: "incomplete" }, `${cut}`);
      }
    });
  }

  for (const [what, bytes] of badOnes) {
    test(`is not ${what}`, () => assert.deepEqual(readProxyHeader(bytes), { kind: "bad" }));
  }

  test("names no address that is none, whatever comes", () => {
    const start = fc.constantFrom(text("PROXY TCP4 "), four.subarray(0, 13), four.subarray(0, 16));
    fc.assert(
      fc.property(start, fc.uint8Array({ maxLength: 200 }), (first, rest) => {
        const read = readProxyHeader(Buffer.concat([first, rest]));
        if (read.kind !== "read" || read.address === undefined) return;
        assert.ok(addressNumber(read.address) !== undefined, read.address);
      }),
    );
  });
});
