/** A record of the placement bucket, from a cluster that may be electing, too. */
import { Fault } from "../../src/base/result.js";
import type { NatsConnection } from "../../src/drivers/nats-connection.js";
import { openKeyValue } from "../../src/drivers/nats-key-value.js";
import type { KeyValueEntry } from "../../src/ports/key-value.js";
import { until } from "./until.js";

/** Asks again while the bucket has no leader: a cluster elects JetStream's and the bucket's apart. */
export async function readPlacementRecord(
  link: NatsConnection,
  key: string,
): Promise<KeyValueEntry | undefined> {
  const read = await until(`the bucket tells ${key}`, async () => {
    try {
      const placement = await openKeyValue(link, "placement");
      return { entry: await placement.get(key) };
    } catch (cause) {
      if (cause instanceof Fault && ["TIMEOUT", "KV_UNAVAILABLE"].includes(cause.code))
        return false;
      throw cause;
    }
  });
  return read.entry;
}
