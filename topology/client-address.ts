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

/** Undefined for `unknown`, names and nothing: who wrote that is the last one known. */
function addressOf(hop: string): string | undefined {
  const [, bracketed] = /^\[(.+)\](?::\d+)?$/.exec(hop.trim()) ?? [];
  const text = bracketed ?? hop.trim();
  if (addressNumber(text) !== undefined) return text;
  const [, withoutPort = ""] = /^([\d.]+):\d+$/.exec(text) ?? [];
  return addressNumber(withoutPort) === undefined ? undefined : withoutPort;
}
