/** What a node knows of lanes, on a bucket and queues in memory. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { KvLaneDirectory } from "../../src/drivers/kv-lane-directory.js";
import { MemoryKeyValue } from "../../src/drivers/memory-key-value.js";
import { MemoryLanes } from "../../src/drivers/memory-lanes.js";
import { systemClock } from "../../src/drivers/system-clock.js";
import {
  encodeLaneRecord,
  type LaneRecord,
  laneRecordVersion,
} from "../../src/protocol/lane-record.js";
import { until } from "../support/until.js";

const vip: LaneRecord = { v: laneRecordVersion, lane: "vip", app: "shop", weight: 3, workers: 8 };

/** Queues of which one is made only when it is let go on. */
class SlowLanes extends MemoryLanes {
  goOn: (() => void) | undefined = undefined;

  override async ensure(record: LaneRecord): Promise<void> {
    if (record.lane === "vip" && this.goOn === undefined) {
      await new Promise<void>((resolve) => {
        this.goOn = resolve;
      });
    }
    await super.ensure(record);
  }
}

async function start() {
  const bucket = new MemoryKeyValue(systemClock);
  const queues = new SlowLanes(systemClock);
  const said: string[] = [];
  const say = (text: string) => void said.push(text);
  const log = { debug: say, info: say, warn: say, error: say };
  const directory = await KvLaneDirectory.follow(bucket, queues, log);
  const names = () => [...directory.all()].map(({ lane }) => lane).sort();
  await until("the common lanes are there", () => names().length === 3);
  const made = await bucket.create("vip", encodeLaneRecord(vip));
  await until("its queue is being made", () => queues.goOn !== undefined);
  const revision = made.ok ? made.value : 0;
  return { bucket, queues, directory, names, revision, said };
}

test("a lane that was dropped while its queue was made does not come back", async () => {
  const { bucket, queues, directory, revision, said } = await start();
  let hasDropped = false;
  const { drop } = MemoryLanes.prototype;
  queues.drop = async (lane) => {
    await drop.call(queues, lane);
    hasDropped = true;
  };
  await bucket.delete("vip", revision);
  await until("the node knows", () => said.includes("lane removed"));
  queues.goOn?.();
  await until("its late queue is dropped", () => hasDropped);
  assert.equal(await queues.figures("vip"), undefined);
  directory.close();
});

test("made anew meanwhile, it stays", async () => {
  const { bucket, queues, directory, names, revision } = await start();
  await bucket.delete("vip", revision);
  await bucket.create("vip", encodeLaneRecord(vip));
  queues.goOn?.();
  await until("it is shown", () => names().includes("vip"));
  assert.equal((await queues.figures("vip"))?.messages, 0);
  directory.close();
});
