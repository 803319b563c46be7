/**
 * Tells bytes that are exactly one plain msgpack value (github.com/msgpack/msgpack,
 * spec.md): nil, booleans, numbers, strings, binary, arrays, and maps whose keys are
 * strings or numbers, nested at most `nestingMax` deep. Extensions are not plain.
 *
 * It reads bytes from outside before any decoder does, so that what they can make a
 * decoder do is bounded: every step moves forward, and nothing is allocated.
 */
export const nestingMax = 64;

export function isPlainMsgpack(bytes: Uint8Array): boolean {
  return endOfValue(bytes, 0, nestingMax) === bytes.length;
}

const broken = -1;

/** Where the value that starts at `at` ends; `broken` when it is not plain or not whole. */
function endOfValue(bytes: Uint8Array, at: number, nestingLeft: number): number {
  const head = bytes[at];
  if (head === undefined) return broken;
  const next = at + 1;
  if (head < 0x80 || head >= 0xe0) return next;
  if (head < 0x90) return endOfMap(bytes, next, head & 0x0f, nestingLeft);
  if (head < 0xa0) return endOfItems(bytes, next, head & 0x0f, nestingLeft);
  if (head < 0xc0) return endOfBytes(bytes, next, head & 0x1f);
  switch (head) {
    case 0xc0: // nil
    case 0xc2: // false
    case 0xc3: // true
      return next;
    case 0xcc: // 8 bits of number
    case 0xd0:
      return endOfBytes(bytes, next, 1);
    case 0xcd: // 16
    case 0xd1:
      return endOfBytes(bytes, next, 2);
    case 0xca: // 32
    case 0xce:
    case 0xd2:
      return endOfBytes(bytes, next, 4);
    case 0xcb: // 64
    case 0xcf:
    case 0xd3:
      return endOfBytes(bytes, next, 8);
    case 0xc4: // binary and strings with a length of 1, 2 or 4 bytes
    case 0xd9:
      return endOfBytes(bytes, next + 1, readLength(bytes, next, 1));
    case 0xc5:
    case 0xda:
      return endOfBytes(bytes, next + 2, readLength(bytes, next, 2));
    case 0xc6:
    case 0xdb:
      return endOfBytes(bytes, next + 4, readLength(bytes, next, 4));
    case 0xdc:
      return endOfItems(bytes, next + 2, readLength(bytes, next, 2), nestingLeft);
    case 0xdd:
      return endOfItems(bytes, next + 4, readLength(bytes, next, 4), nestingLeft);
    case 0xde:
      return endOfMap(bytes, next + 2, readLength(bytes, next, 2), nestingLeft);
    case 0xdf:
      return endOfMap(bytes, next + 4, readLength(bytes, next, 4), nestingLeft);
    default: // extensions, and 0xc1, which is never used
      return broken;
  }
}

function endOfBytes(bytes: Uint8Array, from: number, length: number): number {
  const end = from + length;
  return end <= bytes.length ? end : broken;
}

function endOfItems(bytes: Uint8Array, from: number, count: number, nestingLeft: number): number {
  if (nestingLeft === 0 || from > bytes.length) return broken;
  let at = from;
  for (let left = count; left > 0 && at !== broken; left--) {
    at = endOfValue(bytes, at, nestingLeft - 1);
  }
  return at;
}

function endOfMap(bytes: Uint8Array, from: number, count: number, nestingLeft: number): number {
  if (nestingLeft === 0 || from > bytes.length) return broken;
  let at = from;
  for (let left = count; left > 0 && at !== broken; left--) {
    if (!isKey(bytes[at])) return broken;
    at = endOfValue(bytes, at, nestingLeft - 1);
    if (at !== broken) at = endOfValue(bytes, at, nestingLeft - 1);
  }
  return at;
}

/** Strings and numbers; msgpackr turns the numbers into text. */
function isKey(head: number | undefined): boolean {
  if (head === undefined) return false;
  const isFixed = head < 0x80 || head >= 0xe0 || (head >= 0xa0 && head < 0xc0);
  return isFixed || (head >= 0xca && head <= 0xd3) || (head >= 0xd9 && head <= 0xdb);
}

/** Infinity where the length itself is cut off, so that no end fits. */
function readLength(bytes: Uint8Array, at: number, width: number): number {
  if (at + width > bytes.length) return Number.POSITIVE_INFINITY;
  let length = 0;
  for (let byte = at; byte < at + width; byte++) length = length * 256 + (bytes[byte] ?? 0);
  return length;
}
