/**
 * Sets of IP addresses, IPv4 and IPv6, as CIDR ranges say them. An IPv4 address that came
 * over an IPv6 socket (`::ffff:10.0.0.1`) is that IPv4 address. Pure.
 *
 * Invariant: the ranges are sorted and apart, so that a look is a binary search.
 */
interface Range {
  readonly first: bigint;
  readonly last: bigint;
}

/** In one list; a longer one belongs into a firewall. */
export const rangesMax = 10_000;

const bits = 128;
const ipv4Prefix = 0xffff_0000_0000n;

export class AddressRanges {
  private constructor(private readonly ranges: readonly Range[]) {}

  /** Addresses and `address/bits` with commas between; undefined when it is no such list. */
  static parse(list: string): AddressRanges | undefined {
    const words = list.split(",").map((word) => word.trim());
    if (words.length > rangesMax) return undefined;
    const ranges: Range[] = [];
    for (const word of words) {
      const range = rangeOf(word);
      if (range === undefined) return undefined;
      ranges.push(range);
    }
    return new AddressRanges(merge(ranges));
  }

  /** False too for what is no address. */
  has(address: string): boolean {
    const number = addressNumber(address);
    if (number === undefined) return false;
    let low = 0;
    let high = this.ranges.length - 1;
    while (low <= high) {
      const middle = (low + high) >> 1;
      const range = this.ranges[middle];
      if (range === undefined || number < range.first) high = middle - 1;
      else if (number > range.last) low = middle + 1;
      else return true;
    }
    return false;
  }
}

function merge(ranges: Range[]): Range[] {
  const merged: Range[] = [];
  for (const range of ranges.sort((a, b) => (a.first < b.first ? -1 : 1))) {
    const before = merged.at(-1);
    if (before === undefined || range.first > before.last) merged.push(range);
    else if (range.last > before.last) {
      merged[merged.length - 1] = { first: before.first, last: range.last };
    }
  }
  return merged;
}

function rangeOf(word: string): Range | undefined {
  const [address = "", length, ...rest] = word.split("/");
  const number = addressNumber(address);
  if (number === undefined || rest.length > 0) return undefined;
  if (length === undefined) return { first: number, last: number };
  const bitsMax = address.includes(":") ? bits : 32;
  if (!/^\d{1,3}$/.test(length) || Number(length) > bitsMax) return undefined;
  const size = 1n << BigInt(bitsMax - Number(length));
  const first = number - (number % size);
  return { first, last: first + size - 1n };
}

/** Of 128 bits, an IPv4 address as the IPv6 one that it maps to; undefined for no address. */
export function addressNumber(text: string): bigint | undefined {
  if (!text.includes(":")) {
    const four = ipv4Number(text);
    return four === undefined ? undefined : ipv4Prefix | BigInt(four);
  }
  // A scope says only by which interface it came.
  return ipv6Number(text.split("%")[0] ?? "");
}

function ipv4Number(text: string): number | undefined {
  const parts = text.split(".");
  if (parts.length !== 4) return undefined;
  let number = 0;
  for (const part of parts) {
    // No leading zeros: some read them as octal.
    if (!/^(0|[1-9]\d{0,2})$/.test(part) || Number(part) > 255) return undefined;
    number = number * 256 + Number(part);
  }
  return number;
}

function ipv6Number(text: string): bigint | undefined {
  const halves = text.split("::");
  if (halves.length > 2) return undefined;
  const [head, tail] = halves.map(groupsOf);
  if (head === undefined || (halves.length === 2 && tail === undefined)) return undefined;
  const missing = 8 - head.length - (tail?.length ?? 0);
  if (halves.length === 1 ? missing !== 0 : missing < 1) return undefined;
  const groups = [...head, ...new Array<number>(missing).fill(0), ...(tail ?? [])];
  return groups.reduce((number, group) => (number << 16n) | BigInt(group), 0n);
}

/** The last one may be written as an IPv4 address, which is two. */
function groupsOf(text: string): number[] | undefined {
  if (text === "") return [];
  const groups: number[] = [];
  const words = text.split(":");
  for (const [at, word] of words.entries()) {
    const four = at === words.length - 1 ? ipv4Number(word) : undefined;
    if (four !== undefined) groups.push(Math.floor(four / 65_536), four % 65_536);
    else if (/^[\da-f]{1,4}$/i.test(word)) groups.push(Number.parseInt(word, 16));
    else return undefined;
  }
  return groups;
}
