/**
 * A new owner that lives and whose store never opens: the leader gives the group back, and
 * the old owner serves it again under a new epoch, on virtual time.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { InboxStore } from "../../src/ports/inbox-store.js";
import { MoveBench, unitOf } from "../support/move-bench.js";

const unit = unitOf("u0");

test("the old owner serves again what the new one never opened, and nothing is lost or doubled", async () => {
  const bench = new MoveBench();
  const stuck = Object.create(bench.store) as InboxStore;
  stuck.openGroup = () => new Promise(() => undefined);
  bench.storeFor = (nodeId) => (nodeId === "dc1-b" ? stuck : bench.store);
  const a = bench.addNode("a", 1, 5);
  const b = bench.addNode("b", 1, 5);
  bench.addPublisher(0, 1);
  bench.give(unit, a);
  await bench.clock.advanceAndSettle(100);
  const publish = async (ms: number) => {
    for (let passed = 0; passed < ms; passed += 20) {
      bench.publish(0, "u0", true);
      await bench.clock.advanceAndSettle(20);
    }
  };
  await publish(200);
  bench.move(unit, b);
  await publish(2_000);
  assert.equal(bench.isMoving(unit), true);
  const held = bench.sent.filter(({ answers }) => answers.length === 0).length;
  assert.ok(held > 90, `${held} wait for b`);
  bench.give(unit, a);
  await publish(1_000);
  await bench.clock.advanceAndSettle(20_000);
  const answered = bench.sent.map(({ answers }) => answers[0]);
  assert.ok(
    answered.every((answer) => answer?.ok || answer?.retryable),
    "each is answered",
  );
  const refused = answered.filter((answer) => answer?.ok === false).length;
  assert.ok(refused >= held - 5 && refused <= held + 5, `${refused} of ${held} were refused`);
  const accepted = bench.sent.filter(({ answers }) => answers[0]?.ok).map(({ n }) => n);
  const stored = (await bench.stored("u0")) as { n: number }[];
  assert.deepEqual(
    stored.map(({ n }) => n),
    accepted,
  );
  assert.equal(answered.at(-1)?.ok, true, "a serves");
});
