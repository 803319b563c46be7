/** MsgIDs hold what they were made of, sort by time, and never pass their reservation. */
import { deepEqual, equal, match, ok, throws } from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import {
  decodeMsgId,
  encodeMsgId,
  type MsgIdParts,
  MsgIdSource,
} from "../../src/protocol/msg-id.js";
import type { Shard } from "../../src/protocol/shards.js";

const parts = fc.record(
  {
    timeMs: fc.nat(2 ** 48 - 1),
    shard: fc.nat(4_095).map((shard) => shard as Shard),
    idc: fc.nat(15),
    sequence: fc.nat(65_535),
  },
  { noNullPrototype: true },
);

describe("MsgIDs", () => {
  test("give back what they were made of", () => {
    fc.assert(
      fc.property(parts, (made) => {
        const id = encodeMsgId(made);
        match(id, /^[0-9A-HJKMNP-TV-Z]{16}$/);
        deepEqual(decodeMsgId(id), made);
      }),
      { numRuns: 2_000 },
    );
  });

  test("sort as text as they sort by time, then shard, IDC and sequence", () => {
    const order = (id: MsgIdParts) => [id.timeMs, id.shard, id.idc, id.sequence];
    fc.assert(
      fc.property(parts, parts, (one, other) => {
        const [first, second] = [order(one), order(other)];
        const at = first.findIndex((part, index) => part !== second[index]);
        const expected = at === -1 ? 0 : Math.sign((first[at] ?? 0) - (second[at] ?? 0));
        const [a, b] = [encodeMsgId(one), encodeMsgId(other)];
        equal(a < b ? -1 : a > b ? 1 : 0, expected);
      }),
      { numRuns: 2_000 },
    );
  });

  test("have extremes that fit", () => {
    const most = { timeMs: 2 ** 48 - 1, shard: 4_095 as Shard, idc: 15, sequence: 65_535 };
    equal(encodeMsgId(most), "Z".repeat(16));
    equal(encodeMsgId({ timeMs: 0, shard: 0 as Shard, idc: 0, sequence: 0 }), "0".repeat(16));
  });

  for (const text of ["", "0".repeat(15), "0".repeat(17), "0123456789ABCDEI", "0123456789abcdef"]) {
    test(`are not ${JSON.stringify(text)}`, () => {
      equal(decodeMsgId(text), undefined);
    });
  }
});

describe("a source of MsgIDs", () => {
  const shard = 7 as Shard;

  test("gives ids that only grow and stay below the reservation, whatever the clock does", () => {
    const clock = fc.array(fc.integer({ min: 900, max: 1_200 }), { minLength: 1, maxLength: 200 });
    fc.assert(
      fc.property(clock, (readings) => {
        const source = new MsgIdSource(shard, 3, 1_000, 1_100);
        let last = "";
        for (const wallMs of readings) {
          const id = source.next(wallMs);
          if (id === undefined) {
            ok(wallMs >= source.reserved, "it refuses only when it is used up");
            continue;
          }
          ok(id > last, `${id} after ${last}`);
          last = id;
          const made = decodeMsgId(id);
          ok(made !== undefined && made.timeMs >= 1_000 && made.timeMs < 1_100);
          equal(made.shard, shard);
          equal(made.idc, 3);
        }
      }),
    );
  });

  test("moves its own time on when a millisecond's sequence is used up", () => {
    const source = new MsgIdSource(shard, 0, 1_000, 1_002);
    let last = "";
    let count = 0;
    for (let id = source.next(500); id !== undefined; id = source.next(500)) {
      ok(id > last);
      last = id;
      count += 1;
    }
    equal(count, 2 * 65_536);
    equal(source.next(500), undefined);
  });

  test("goes on once the reservation is longer, and never shortens it", () => {
    const source = new MsgIdSource(shard, 0, 1_000, 1_001);
    equal(source.next(2_000), undefined);
    source.extend(3_000);
    equal(decodeMsgId(source.next(2_000) ?? "")?.timeMs, 2_000);
    throws(() => source.extend(2_999));
  });

  test("has ids left for what is not stored, for a while, and never one twice", () => {
    const source = new MsgIdSource(shard, 0, 1_000, 2_000);
    let last = source.next(1_999) ?? "";
    for (let wallMs = 2_000; wallMs <= 2_999; wallMs++) {
      equal(source.next(wallMs), undefined, "none for what is stored");
      const id = source.nextUnstored(wallMs, 1_000) ?? "";
      ok(id > last, `${id} after ${last}`);
      equal(decodeMsgId(id)?.timeMs, 1_999);
      last = id;
    }
    equal(source.nextUnstored(3_000, 1_000), undefined, "it would be told to be too old");
    source.extend(4_000);
    ok((source.next(3_000) ?? "") > last);
  });

  test("of a new owner starts above everything that the old one may have given", () => {
    const old = new MsgIdSource(shard, 0, 1_000, 1_050);
    let highest = "";
    for (let wallMs = 1_000; wallMs < 1_100; wallMs++) highest = old.next(wallMs) ?? highest;
    const next = new MsgIdSource(shard, 0, 1_050, 2_000).next(900);
    ok(next !== undefined && next > highest);
  });
});
