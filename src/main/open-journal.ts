/** The delivery journal as the settings want it. Opens nothing yet: see drivers/nats-journal. */
import { DeliveryJournal } from "../../actors/delivery-journal.js";
import type { NodeContext } from "../../actors/node-context.js";
import type { NatsConnection } from "../drivers/nats-connection.js";
import { NatsJournal } from "../drivers/nats-journal.js";
import { systemClock } from "../drivers/system-clock.js";
import type { Settings } from "./settings.js";

export type Journalling = Pick<NodeContext, "journal" | "journalStore">;

/** 72 hours. */
const keptMs = 72 * 3_600_000;

export function openJournal(
  { journal: wanted, journalBytes, kvReplicas }: Settings,
  nodeId: string,
  connection: NatsConnection,
): Journalling {
  const journalStore = new NatsJournal(connection, {
    bytesMax: journalBytes,
    maxAgeMs: keptMs,
    ...(kvReplicas === undefined ? {} : { replicas: kvReplicas }),
  });
  if (wanted === "off") return { journalStore };
  const sampleOneIn = wanted === "on" ? 1 : Number(wanted.slice("sample ".length));
  const journal = new DeliveryJournal({ nodeId, clock: systemClock, sampleOneIn });
  return { journal, journalStore };
}
