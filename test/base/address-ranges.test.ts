/** Which addresses are in which ranges, and what is no range. */
import assert from "node:assert/strict";
import { BlockList } from "node:net";
import { describe, test } from "node:test";
import fc from "fast-check";
import { AddressRanges, addressNumber } from "../../src/base/address-ranges.js";

const has = (list: string, address: string) => AddressRanges.parse(list)?.has(address);

describe("ranges of addresses", () => {
  for (const [list, inside, outside] of [
    [
      "10.0.0.0/8",
      ["10.0.0.0", "10.255.255.255", "::ffff:10.1.2.3"],
      ["9.255.255.255", "11.0.0.0"],
    ],
    ["10.1.2.3", ["10.1.2.3", "::ffff:a01:203"], ["10.1.2.4", "::10.1.2.3"]],
    ["10.1.2.3/8", ["10.200.0.1"], ["11.0.0.1"]],
    ["0.0.0.0/0", ["0.0.0.0", "255.255.255.255"], ["::1", "2001:db8::1"]],
    ["::/0", ["::1", "10.0.0.1", "2001:db8::1"], []],
    ["2001:db8::/32", ["2001:db8::1", "2001:DB8:ffff::"], ["2001:db9::", "10.0.0.1"]],
    ["fe80::/10", ["fe80::1%eth0", "febf::1"], ["fec0::1"]],
    ["::1, 127.0.0.0/8", ["::1", "127.1.2.3"], ["::2", "128.0.0.1"]],
    ["10.0.0.0/8, 10.1.0.0/16, 10.0.0.5", ["10.0.0.1", "10.200.0.1"], ["11.0.0.0"]],
  ] as const) {
    test(`${list}`, () => {
      for (const address of inside) assert.equal(has(list, address), true, address);
      for (const address of outside) assert.equal(has(list, address), false, address);
    });
  }

  for (const list of [
    ...["", "10.0.0", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/8/8", "10.0.0.256", "010.0.0.1"],
    ...["::/129", ":::", "1::2::3", "1:2:3:4:5:6:7:8:9", "1:2:3:4:5:6:7", "12345::", "a.b.c.d"],
    ...["10.0.0.1,", "localhost", "10.0.0.1 10.0.0.2", "::10.0.0.1:1", "1:2:3:4:5:6:7::8:9"],
  ]) {
    test(`"${list}" is none`, () => assert.equal(AddressRanges.parse(list), undefined));
  }

  test("hold no more than their bound", () => {
    const list = (count: number) => Array.from({ length: count }, () => "10.0.0.1").join(",");
    assert.ok(AddressRanges.parse(list(10_000)) !== undefined);
    assert.equal(AddressRanges.parse(list(10_001)), undefined);
  });

  test("hold what Node's own block list of the same ranges holds", () => {
    const subnets = fc.array(fc.tuple(fc.ipV4(), fc.integer({ min: 1, max: 32 })), {
      minLength: 1,
      maxLength: 6,
    });
    const six = fc.array(fc.tuple(fc.ipV6(), fc.integer({ min: 1, max: 128 })), { maxLength: 4 });
    fc.assert(
      fc.property(subnets, six, fc.ipV4(), fc.ipV6(), (fours, sixes, four, other) => {
        const list = new BlockList();
        for (const [address, length] of fours) list.addSubnet(address, length, "ipv4");
        for (const [address, length] of sixes) list.addSubnet(address, length, "ipv6");
        const all = [...fours, ...sixes].map(([address, length]) => `${address}/${length}`);
        const ranges = AddressRanges.parse(all.join(","));
        const near = fours.map(([address]) => address);
        for (const address of [four, ...near]) {
          assert.equal(ranges?.has(address), list.check(address, "ipv4"), address);
        }
        for (const address of [other, ...sixes.map(([each]) => each)]) {
          if ((addressNumber(address) ?? 0n) >> 32n === 0xffffn) continue;
          assert.equal(ranges?.has(address), list.check(address, "ipv6"), address);
        }
      }),
    );
  });
});
