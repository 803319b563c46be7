/** What services publish on lanes, with JetStream's receipts, on a real server. */
import { jetstream } from "@nats-io/jetstream";
import { connectNats, type NatsConnection } from "../../src/drivers/nats-connection.js";
import { openKeyValue } from "../../src/drivers/nats-key-value.js";
import { packValue } from "../../src/protocol/codec.js";
import { decodeLaneRecord, encodeLaneRecord } from "../../src/protocol/lane-record.js";
import { laneUserSubject } from "../../src/protocol/lanes.js";
import { app, type Platform } from "./platform.js";
import { until } from "./until.js";

/** Publishes unanswered at a time. */
const openMax = 256;

export class LaneService implements AsyncDisposable {
  private constructor(readonly connection: NatsConnection) {}

  static async connect({ nats }: Platform): Promise<LaneService> {
    const { user, pass: password, inboxPrefix } = nats.credentials.app(app);
    const own = { url: nats.url, name: "lane service", user, password, inboxPrefix };
    return new LaneService(await connectNats(own));
  }

  /** Resolves with the sequence; rejects where no lane takes it. */
  async publish(lane: string, uid: string, command: object): Promise<number> {
    const js = jetstream(this.connection.client);
    return (await js.publish(laneUserSubject(lane, app, uid), packValue(command))).seq;
  }

  /** In order; resolves when all have their receipt. */
  async publishAll(
    lane: string,
    pushes: Iterable<{ readonly uid: string; readonly command: object }>,
  ): Promise<number> {
    const open = new Set<Promise<unknown>>();
    let count = 0;
    for (const { uid, command } of pushes) {
      if (open.size >= openMax) await Promise.race(open);
      const published: Promise<unknown> = this.publish(lane, uid, command).finally(() =>
        open.delete(published),
      );
      open.add(published);
      count++;
    }
    await Promise.all(open);
    return count;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.connection.close();
  }
}

/** Sets a lane's workers as the command line does; nodes follow within a moment. */
export async function setWorkers(platform: Platform, lane: string, workers: number): Promise<void> {
  const bucket = await openKeyValue(platform.link, "lanes");
  await until(`${lane} is set`, async () => {
    const entry = await bucket.get(lane);
    const record = entry && decodeLaneRecord(entry.value);
    if (entry === undefined || record === undefined) return false;
    return (await bucket.update(lane, encodeLaneRecord({ ...record, workers }), entry.revision)).ok;
  });
}
