/**
 * Who a client is behind proxies: the last address that no trusted one vouches for. Pure.
 *
 * `X-Forwarded-For: client, proxy1` came over a socket of proxy2: each proxy adds whom it
 * sees, so the list is read from its end as long as who wrote that part is trusted. What a
 * client wrote itself stands before that and is never reached.
 */
import { type AddressRanges, addressNumber } from "../src/base/address-ranges.js";

/** A longer list is nobody's honest one: what is before it is not looked at. */
const hopsMax = 32;

export function clientAddress(
  remoteAddress: string,
  forwardedFor: string | undefined,
  trusted: AddressRanges | undefined,
): string {
  let address = remoteAddress;
  if (forwardedFor === undefined || trusted === undefined) return address;
  const hops = forwardedFor.split(",").slice(-hopsMax);
  while (trusted.has(address)) {
    const hop = hops.pop();
    const next = hop === undefined ? undefined : addressOf(hop);
    if (next === undefined) return address;
    address = next;
  }
  return address;
}

const ipv6HolderBits = 64n;
/** `::ffff:0:0/96`, and `64:ff9b::/96`, where translators put IPv4 clients (RFC 6052). */
const ipv4Prefixes = [0xffffn, (0x64n << 80n) | (0xff9bn << 64n)];

/**
 * Who is counted for an address. In IPv6 that is its /64, the least that anybody is given
 * (RFC 6177): single addresses a client has 2^64 of. In IPv4 it is the address.
 */
export function addressHolder(address: string): string {
  if (!address.includes(":")) return address;
  const number = addressNumber(address);
  if (number === undefined) return address;
  if (ipv4Prefixes.includes(number >> 32n)) return ipv4Text(number & 0xffff_ffffn);
  return `${(number >> ipv6HolderBits).toString(16)}/64`;
}

function ipv4Text(number: bigint): string {
  return [24n, 16n, 8n, 0n].map((shift) => (number >> shift) & 0xffn).join(".");
}

/** Undefined for `unknown`, names and nothing: who wrote that is the last one known. */
function addressOf(hop: string): string | undefined {
  const [, bracketed] = /^\[(.+)\](?::\d+)?$/.exec(hop.trim()) ?? [];
  const text = bracketed ?? hop.trim();
  if (addressNumber(text) !== undefined) return text;
  const [, withoutPort = ""] = /^([\d.]+):\d+$/.exec(text) ?? [];
  return addressNumber(withoutPort) === undefined ? undefined : withoutPort;
}
