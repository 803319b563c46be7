/**
 * The head that a proxy puts before a connection's first byte to say whose it is: PROXY
 * protocol, versions 1 and 2 (haproxy.org/download/3.0/doc/proxy-protocol.txt). Read
 * strictly, since what is taken from it decides who is let in. Pure.
 */
import { addressNumber } from "../base/address-ranges.js";

export type ProxyHeader =
  | { readonly kind: "incomplete" }
  /** None, or one that does not read: nobody's honest one. */
  | { readonly kind: "bad" }
  /**
   * `end`: where the client's own bytes begin. No address: the proxy speaks for itself
   * (LOCAL, its own health checks), or does not know.
   */
  | { readonly kind: "read"; readonly end: number; readonly address: string | undefined };

/** Of either version; with all that may follow an address in version 2. */
export const proxyHeaderBytesMax = 4 * 1024;
const textBytesMax = 107;
const textStart = Buffer.from("PROXY ", "latin1");
const signature = Buffer.from("\r\n\r\n\0\r\nQUIT\n", "latin1");
const fixedBytes = signature.length + 4;
const incomplete: ProxyHeader = { kind: "incomplete" };
const bad: ProxyHeader = { kind: "bad" };

const local = 0x20;
const proxied = 0x21;
const overTcp4 = 0x11;
const overTcp6 = 0x21;
const unknownFamily = 0x00;

export function readProxyHeader(bytes: Buffer): ProxyHeader {
  if (startsLike(bytes, signature)) return readBinary(bytes);
  return startsLike(bytes, textStart) ? readText(bytes) : bad;
}

function startsLike(bytes: Buffer, start: Buffer): boolean {
  const known = Math.min(bytes.length, start.length);
  return bytes.compare(start, 0, known, 0, known) === 0;
}

function readText(bytes: Buffer): ProxyHeader {
  const lineEnd = bytes.subarray(0, textBytesMax).indexOf("\r\n", 0, "latin1");
  if (lineEnd < 0) return bytes.length < textBytesMax ? incomplete : bad;
  const end = lineEnd + 2;
  const words = bytes.toString("latin1", 0, lineEnd).split(" ");
  const [, family, source = "", destination = "", ...ports] = words;
  if (family === "UNKNOWN") return { kind: "read", end, address: undefined };
  const isSix = family === "TCP6";
  if (!isSix && family !== "TCP4") return bad;
  const areAddresses = [source, destination].every(
    (text) => text.includes(":") === isSix && addressNumber(text) !== undefined,
  );
  const arePorts = ports.length === 2 && ports.every(isPort);
  return areAddresses && arePorts ? { kind: "read", end, address: source } : bad;
}

function isPort(text: string): boolean {
  return /^(0|[1-9]\d{0,4})$/.test(text) && Number(text) < 65_536;
}

function readBinary(bytes: Buffer): ProxyHeader {
  if (bytes.length < fixedBytes) return incomplete;
  const command = bytes[signature.length];
  const family = bytes[signature.length + 1];
  if (command !== local && command !== proxied) return bad;
  const end = fixedBytes + bytes.readUInt16BE(signature.length + 2);
  if (end > proxyHeaderBytesMax) return bad;
  if (bytes.length < end) return incomplete;
  if (command === local || family === unknownFamily)
    return { kind: "read", end, address: undefined };
  const addresses = bytes.subarray(fixedBytes, end);
  if (family === overTcp4 && addresses.length >= 12) {
    return { kind: "read", end, address: [...addresses.subarray(0, 4)].join(".") };
  }
  if (family === overTcp6 && addresses.length >= 36) {
    return { kind: "read", end, address: ipv6Text(addresses) };
  }
  return bad;
}

function ipv6Text(bytes: Buffer): string {
  const groups = Array.from({ length: 8 }, (_, at) => bytes.readUInt16BE(at * 2).toString(16));
  return groups.join(":");
}
