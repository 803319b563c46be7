/**
 * The loss test's way by a durable lane: a publish is repeated under its Nats-Msg-Id until
 * JetStream has it, and is then owed like an accepted push. It carries no idempotency key:
 * what keeps it single behind the lane is the lane's own. The lane is the app's alone, whose
 * stream knows an id for two minutes; the lanes for all forget it at once.
 */
import { setTimeout as delay } from "node:timers/promises";
import { type JetStreamClient, jetstream } from "@nats-io/jetstream";
import type { Push } from "../../src/client/service-client.js";
import { connectNats, type NatsConnection } from "../../src/drivers/nats-connection.js";
import { openKeyValue } from "../../src/drivers/nats-key-value.js";
import { NatsLanes } from "../../src/drivers/nats-lanes.js";
import { packValue } from "../../src/protocol/codec.js";
import {
  encodeLaneRecord,
  laneRecordVersion,
  ownLaneSettings,
} from "../../src/protocol/lane-record.js";
import { laneUserSubject } from "../../src/protocol/lanes.js";
import { type LossOutcome, nameOf } from "./loss-ledger.js";
import type { OpenWay, PublishWay } from "./loss-publishers.js";
import { app, type Platform } from "./platform.js";
import { until } from "./until.js";

const lane = "loss";
const record = { v: laneRecordVersion, lane, app, ...ownLaneSettings } as const;
const attemptMs = 1_000;
const againMs = 100;

export const openLane: OpenWay = async (platform, name) => {
  const { user, pass: password, inboxPrefix } = platform.nats.credentials.app(app);
  const { url } = platform.nats;
  const bucket = await openKeyValue(platform.link, "lanes");
  await bucket.create(lane, encodeLaneRecord(record));
  const lanes = await NatsLanes.open(platform.link);
  await until("the lane stands", async () => (await lanes.figures(lane)) !== undefined);
  return new LaneWay(await connectNats({ url, name, user, password, inboxPrefix }));
};

/** What waits in the lane, and what it could not deliver; undefined while nobody answers. */
export async function laneRest(platform: Platform): Promise<string | undefined> {
  const lanes = await NatsLanes.open(platform.link);
  const figures = await lanes.figures(lane);
  if (figures === undefined) return `there is no lane ${lane}`;
  const { messages, deadLetters } = figures;
  if (messages === 0 && deadLetters === 0) return undefined;
  return `the lane ${lane} has ${messages} messages and ${deadLetters} dead letters`;
}

class LaneWay implements PublishWay {
  private readonly js: JetStreamClient;

  constructor(private readonly connection: NatsConnection) {
    this.js = jetstream(connection.client, { timeout: attemptMs });
  }

  async publish(uid: string, { id, ...push }: Push, deadlineMs: number): Promise<LossOutcome> {
    const body = push.body as { readonly publisher: string; readonly number: number };
    const subject = laneUserSubject(lane, app, uid);
    const endMs = performance.now() + deadlineMs;
    let why = "nobody answered";
    while (performance.now() < endMs) {
      try {
        await this.js.publish(subject, packValue(push), { msgID: `${uid}-${id}` });
        return { kind: "ok", id: nameOf(body), seq: body.number };
      } catch (error) {
        why = String(error);
        await delay(againMs);
      }
    }
    return { kind: "unknown", why };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.connection.close();
  }
}
