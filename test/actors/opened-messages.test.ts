/** What a session makes of its clients' word that a person opened a message. */
import { deepEqual, equal } from "node:assert/strict";
import { describe, mock, test } from "node:test";
import { openedMax } from "../../actors/opened-messages.js";
import { encodeMsgId, type MsgId } from "../../src/protocol/msg-id.js";
import { type Shard, sessionKey, shardOfKey } from "../../src/protocol/shards.js";
import { ShardBench } from "../support/shard-bench.js";
import { eventIn } from "../support/stored-events.js";

const shard = shardOfKey(sessionKey("demo", "alice"));

async function started() {
  const bench = await ShardBench.start();
  bench.wishes = { receipts: ["opened"], presence: false };
  await bench.attach("alice", 1);
  const opened = (id: MsgId, device = "phone", connection = 1) =>
    bench.tellSession("alice", {
      ...{ kind: "Opened", edge: "dc1-t.i/edge", connection },
      ...{ device, id },
    });
  const idAt = (sequence: number, ofShard: Shard = shard, aheadMs = 0) =>
    encodeMsgId({ timeMs: bench.clock.wallMs() + aheadMs, shard: ofShard, idc: 1, sequence });
  return { bench, opened, idAt };
}

describe("a message that was opened", () => {
  test("is told once for each device, though its inbox has let it go", async () => {
    const { bench, opened } = await started();
    await bench.attach("alice", 2, { device: "tablet" });
    const [answer] = await bench.pushAll("alice", [{ body: 1 }]);
    const id = (answer?.ok ? answer.id : "") as MsgId;
    await bench.ack("alice", 1, 1);
    await bench.ack("alice", 2, 1);
    deepEqual(await bench.inbox("alice"), []);
    for (const device of ["phone", "phone", "tablet", "phone"]) await opened(id, device);
    const events = bench.events.stored.map(eventIn);
    deepEqual(
      events.map(({ kind, id: of, uid, device }) => [kind, of, uid, device]),
      [
        ["opened", id, "alice", "phone"],
        ["opened", id, "alice", "tablet"],
      ],
    );
    equal(bench.events.stored[0]?.subject, `event.demo.receipt.${id}`);
  });

  test("costs no write where the app's services want none of it, and stands in the journal", async () => {
    const { bench, opened, idAt } = await started();
    const journaled = mock.method(bench.journal, "committed");
    bench.wishes = { receipts: ["acked"] };
    const id = idAt(1);
    for (const each of [id, id]) await opened(each);
    deepEqual(
      [await bench.changesOf("alice", "opened"), bench.events.stored, bench.crashes],
      [[], [], []],
    );
    deepEqual(
      journaled.mock.calls.map(({ arguments: [of, { key }, changes] }) => [of, key, changes]),
      [[shard, sessionKey("demo", "alice"), [{ kind: "opened", device: "phone", id }]]],
    );
  });

  test("is told by a connection that is not attached yet, too", async () => {
    const { bench, opened, idAt } = await started();
    await bench.giveAnew();
    await opened(idAt(1), "phone", 99);
    equal((await bench.changesOf("alice", "opened")).length, 1);
  });

  test("cannot be of another shard, nor of a time to come, nor on a device that is none", async () => {
    const { bench, opened, idAt } = await started();
    await opened(idAt(1, ((shard + 1) % 4_096) as Shard));
    await opened(idAt(2, shard, 60_000));
    await opened(idAt(3), "nobody's");
    await opened("0DGZRG3G8010000!" as MsgId);
    deepEqual(await bench.changesOf("alice", "opened"), []);
    deepEqual(bench.crashes, []);
  });

  test("is believed as often as people open something, and no more often", async () => {
    const { bench, opened, idAt } = await started();
    for (let number = 0; number < 300; number++) await opened(idAt(number));
    const count = () => bench.events.stored.length;
    // 300 of them took 3 s.
    equal(count(), openedMax + 2);
    await bench.clock.advanceAndSettle(10_000);
    for (let number = 300; number < 400; number++) await opened(idAt(number));
    equal(count(), openedMax + 2 + 11);
  });
});
