/**
 * The loss test's way by a durable lane. With an idempotency key a publish is repeated
 * until JetStream has it, and is then owed like an accepted push: its `Nats-Msg-Id` would
 * be forgotten with the server, for what was taken from the lane. Without a key it is
 * published once, and what keeps it single behind the lane is the lane's own.
 */
import { setTimeout as delay } from "node:timers/promises";
import { type JetStreamClient, jetstream } from "@nats-io/jetstream";
import type { Push } from "../../src/client/service-client.js";
import { connectNats, type NatsConnection } from "../../src/drivers/nats-connection.js";
import { NatsLanes } from "../../src/drivers/nats-lanes.js";
import { packValue } from "../../src/protocol/codec.js";
import { laneUserSubject } from "../../src/protocol/lanes.js";
import { type LossOutcome, nameOf } from "./loss-ledger.js";
import type { OpenWay, PublishWay } from "./loss-publishers.js";
import { app, type Platform } from "./platform.js";

const lane = "normal";
const attemptMs = 1_000;
const againMs = 100;

export const openLane: OpenWay = async (platform, name) => {
  const { user, pass: password, inboxPrefix } = platform.nats.credentials.app(app);
  const { url } = platform.nats;
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

  async publish(uid: string, push: Push, deadlineMs: number): Promise<LossOutcome> {
    const body = push.body as { readonly publisher: string; readonly number: number };
    const subject = laneUserSubject(lane, app, uid);
    const endMs = performance.now() + deadlineMs;
    let why = "nobody answered";
    for (let tries = 0; performance.now() < endMs; tries++) {
      if (push.id === undefined && tries > 0) break;
      try {
        await this.js.publish(subject, packValue(push));
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
