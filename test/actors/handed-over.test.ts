/** What two overlapping subscriptions received, joined: each push once, in order. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { Twins } from "../../actors/handed-over.js";
import type { ReceivedPush } from "../../src/protocol/messages.js";

/** Few different ones, so that the same to the byte are frequent. */
const push = fc.record(
  {
    subject: fc.constantFrom("shard.1.push.demo.a", "shard.2.push.demo.b"),
    payload: fc.uint8Array({ min: 0, max: 1, maxLength: 2 }),
    reply: fc.constantFrom("_INBOX.1", "_INBOX.2"),
  },
  { requiredKeys: ["subject", "payload"] },
) as fc.Arbitrary<ReceivedPush>;
const pushes = fc.array(push, { maxLength: 12 });

function withoutHanded(own: readonly ReceivedPush[], handed: readonly ReceivedPush[]) {
  const twins = new Twins(handed);
  return own.filter((one) => !twins.take(one));
}

function count(list: readonly ReceivedPush[], wanted: ReceivedPush): number {
  const same = (one: ReceivedPush) =>
    one.subject === wanted.subject &&
    one.reply === wanted.reply &&
    Buffer.compare(one.payload, wanted.payload) === 0;
  return list.filter(same).length;
}

describe("what was handed over, and was received here too", () => {
  test("leaves what comes after the overlap, in its order", () => {
    fc.assert(
      fc.property(pushes, pushes, (both, after) => {
        assert.deepEqual(withoutHanded([...both, ...after], both), after);
      }),
    );
  });

  test("takes away as many of each as were handed over, whatever the order", () => {
    fc.assert(
      fc.property(pushes, pushes, (own, handed) => {
        const left = withoutHanded(own, handed);
        for (const one of own) {
          assert.equal(count(left, one), Math.max(0, count(own, one) - count(handed, one)));
        }
        let at = -1;
        for (const one of left) {
          at = own.indexOf(one, at + 1);
          assert.notEqual(at, -1, "in the order they had");
        }
      }),
    );
  });

  test("is waited for until each twin has come", () => {
    fc.assert(
      fc.property(pushes, (handed) => {
        const twins = new Twins(handed);
        for (const push of handed) {
          assert.equal(twins.isEmpty, false);
          assert.equal(twins.take(push), true);
        }
        assert.equal(twins.isEmpty, true);
      }),
    );
  });

  test("tells requests apart by their reply", () => {
    const subject = "shard.1.push.demo.a";
    const payload = new Uint8Array([1]);
    const own = [{ subject, payload, reply: "_INBOX.1" }];
    assert.deepEqual(withoutHanded(own, [{ subject, payload }]), own);
  });
});
