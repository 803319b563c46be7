/**
 * Is this NATS server what Belfry needs? Said at start in one sentence each, since
 * a missing mapping would otherwise only show as pushes that nobody answers.
 */
import { randomUUID } from "node:crypto";
import { Fault } from "../base/result.js";
import type { NatsConnection } from "../drivers/nats-connection.js";
import { sessionKey, shardOf } from "../protocol/shards.js";
import { pushUserSubject, shardPushSubject } from "../protocol/subjects.js";
import type { Bus } from "../runtime/ports.js";

const mappingDeadlineMs = 2_000;
/** A device's whole window (256 KiB, actors/limits.ts) leaves as one message, with its envelope. */
const payloadBytesMin = 512 * 1024;

/** Throws Fault("NATS_UNFIT", "not-done"). */
export async function checkNats(connection: NatsConnection, bus: Bus): Promise<void> {
  if (!connection.hasJetStream) throw unfit("JetStream is off on this NATS server (see nats.conf)");
  if (connection.payloadMax < payloadBytesMin) {
    throw unfit(
      `this NATS server takes messages of ${connection.payloadMax} bytes at most; ` +
        `set its max_payload to ${payloadBytesMin} or more (see nats.conf)`,
    );
  }
  if (!(await isMapped(bus))) {
    throw unfit(
      'this NATS server does not map "push.*.user.*" to shards; take the mappings of nats.conf',
    );
  }
}

function unfit(message: string): Fault {
  return new Fault("NATS_UNFIT", "not-done", message);
}

/** Publishes to a user who cannot exist and waits for it on the shard that it must be mapped to. */
function isMapped(bus: Bus): Promise<boolean> {
  const uid = `check-${randomUUID()}`;
  const app = "_belfry";
  const subject = shardPushSubject(shardOf(app, uid), sessionKey(app, uid));
  return new Promise((resolve) => {
    const end = (isMappedNow: boolean) => {
      clearTimeout(timer);
      subscription.unsubscribe();
      resolve(isMappedNow);
    };
    const timer = setTimeout(() => end(false), mappingDeadlineMs);
    const subscription = bus.subscribe(subject, () => end(true));
    bus.publish(pushUserSubject(app, uid), new Uint8Array(0));
  });
}
