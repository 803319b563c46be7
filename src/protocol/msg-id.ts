/**
 * MsgID: 16 characters of Crockford base32, sortable as text and by time.
 *
 *   48 bits milliseconds | 12 bits shard | 4 bits IDC | 16 bits sequence
 *
 * The shard inside lets an ack find its home from the id alone. An owner gives ids
 * only below the time that it reserved in the store with its fence, and a new owner
 * starts at that reservation, so no id is ever given twice, whatever the clocks do.
 */
import { assert } from "../base/assert.js";
import type { Shard } from "./shards.js";

declare const msgIdBrand: unique symbol;
export type MsgId = string & { readonly [msgIdBrand]: true };

export interface MsgIdParts {
  readonly timeMs: number;
  readonly shard: Shard;
  readonly idc: number;
  readonly sequence: number;
}

const alphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const idPattern = /^[0-9A-HJKMNP-TV-Z]{16}$/;
const sequenceCount = 65_536;

/** The first ten characters hold time and the shard's first two bits, and so on: 80 bits, no padding. */
export function encodeMsgId(parts: MsgIdParts): MsgId {
  // 48 + 12 + 4 + 16 bits as two 40-bit halves, both exact in a double.
  const high = Math.floor(parts.timeMs / 2 ** 8);
  const low =
    (parts.timeMs % 2 ** 8) * 2 ** 32 +
    parts.shard * 2 ** 20 +
    parts.idc * 2 ** 16 +
    parts.sequence;
  return (base32(high) + base32(low)) as MsgId;
}

/** Undefined when the text is no MsgID. */
export function decodeMsgId(text: string): MsgIdParts | undefined {
  if (!idPattern.test(text)) return undefined;
  const high = fromBase32(text.slice(0, 8));
  const low = fromBase32(text.slice(8));
  return {
    timeMs: high * 2 ** 8 + Math.floor(low / 2 ** 32),
    shard: (Math.floor(low / 2 ** 20) % 2 ** 12) as Shard,
    idc: Math.floor(low / 2 ** 16) % 2 ** 4,
    sequence: low % 2 ** 16,
  };
}

/** Gives the ids of one shard under one ownership, never at or past `reservedUntilMs`. */
export class MsgIdSource {
  private timeMs: number;
  private sequence = 0;

  /** `startMs` is the reservation that the previous owner may have used up. */
  constructor(
    private readonly shard: Shard,
    private readonly idc: number,
    startMs: number,
    private reservedUntilMs: number,
  ) {
    this.timeMs = startMs;
  }

  /** Undefined when the reservation is used up: extend it in the store first. */
  next(wallMs: number): MsgId | undefined {
    const isFull = this.sequence === sequenceCount;
    const timeMs = Math.max(wallMs, isFull ? this.timeMs + 1 : this.timeMs);
    if (timeMs >= this.reservedUntilMs) return undefined;
    if (timeMs > this.timeMs) {
      this.timeMs = timeMs;
      this.sequence = 0;
    }
    const { shard, idc } = this;
    return encodeMsgId({ timeMs, shard, idc, sequence: this.sequence++ });
  }

  /**
   * For what is not stored and does not wait for a store that stands still: also an id of
   * the reservation's last millisecond, when that was at most `ageMaxMs` ago.
   */
  nextUnstored(wallMs: number, ageMaxMs: number): MsgId | undefined {
    const lastMs = this.reservedUntilMs - 1;
    return this.next(wallMs - lastMs > ageMaxMs ? wallMs : Math.min(wallMs, lastMs));
  }

  /** Called once the store holds the longer reservation. */
  extend(untilMs: number): void {
    assert(untilMs >= this.reservedUntilMs, "a reservation only grows");
    this.reservedUntilMs = untilMs;
  }

  get reserved(): number {
    return this.reservedUntilMs;
  }

  /** The time of the ids given now: the wall's, or ahead of it after a takeover. */
  get currentMs(): number {
    return this.timeMs;
  }
}

function base32(value: number): string {
  let text = "";
  let rest = value;
  for (let at = 0; at < 8; at++) {
    text = alphabet[rest % 32] + text;
    rest = Math.floor(rest / 32);
  }
  return text;
}

function fromBase32(text: string): number {
  let value = 0;
  for (const character of text) value = value * 32 + alphabet.indexOf(character);
  return value;
}
