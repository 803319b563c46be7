/**
 * JetStream without room: streams of a test's own reserve what it may use on disk, but for
 * a little. With nothing left at all it makes no bucket either, and without these no node runs.
 */
import { JetStreamApiError, jetstreamManager } from "@nats-io/jetstream";
import type { NatsConnection } from "../../src/drivers/nats-connection.js";

/** More than any server may use, and less than the smallest stream that reserves anything. */
const [firstBytes, leftBytes] = [2 ** 50, 2 ** 26];
/** nats-server, server/errors.json: JSStorageResourcesExceededErr. */
const noRoom = 10_047;

export async function fillJetStream({ client }: NatsConnection) {
  const jsm = await jetstreamManager(client);
  const names: string[] = [];
  const spare = { name: "SPARE", subjects: ["fill.spare"], max_bytes: leftBytes / 2 };
  await jsm.streams.add(spare);
  let bytes = firstBytes;
  while (bytes >= leftBytes) {
    const name = `FILL_${names.length}`;
    try {
      await jsm.streams.add({ name, subjects: [`fill.${name}`], max_bytes: bytes });
      names.push(name);
    } catch (cause) {
      if (!(cause instanceof JetStreamApiError) || cause.code !== noRoom) throw cause;
      bytes /= 2;
    }
  }
  await jsm.streams.delete(spare.name);
  const clear = async () => {
    for (const name of names) await jsm.streams.delete(name);
  };
  return { clear };
}
