/**
 * The one connection of a process to its NATS server; reconnects for ever.
 *
 * While the bus is gone nothing is queued for it: a publish that would leave only
 * after an unknown time is dropped and counted, which at-most-once allows.
 */
import { type NatsConnection as Client, connect } from "@nats-io/transport-node";
import { Fault } from "../base/result.js";

export interface NatsOptions {
  readonly url: string;
  /** Shown in the server's monitoring. */
  readonly name: string;
  readonly user?: string;
  readonly password?: string;
  /** What the user may subscribe for answers; the client's default is granted to nobody. */
  readonly inboxPrefix?: string;
  readonly onStatus?: (status: NatsStatus) => void;
}

export type NatsStatus = "disconnected" | "reconnected" | "closed" | "slow consumer";

/** Below 2.9.21 compare-and-set is racy on clustered streams; 2.10 is what is tested. */
const versionMin = [2, 10] as const;
const connectDeadlineMs = 10_000;

export class NatsConnection {
  isConnected = true;
  droppedPublishes = 0;

  constructor(readonly client: Client) {}

  get payloadMax(): number {
    return this.client.info?.max_payload ?? 1024 * 1024;
  }

  get hasJetStream(): boolean {
    return this.client.info?.jetstream === true;
  }

  async close(): Promise<void> {
    if (this.isConnected) await this.client.drain().catch(() => this.client.close());
    else await this.client.close();
  }
}

/** Throws Fault("NATS_UNREACHABLE" | "NATS_UNFIT", "not-done"). */
export async function connectNats(options: NatsOptions): Promise<NatsConnection> {
  const client = await open(options);
  const version = client.info?.version ?? "0.0";
  if (!isNewEnough(version)) {
    await client.close();
    const wanted = versionMin.join(".");
    throw new Fault(
      "NATS_UNFIT",
      "not-done",
      `nats-server ${version} is too old: ${wanted} or newer`,
    );
  }
  const connection = new NatsConnection(client);
  void followStatus(connection, options.onStatus ?? (() => undefined));
  return connection;
}

async function open(options: NatsOptions): Promise<Client> {
  try {
    return await connect({
      servers: options.url,
      name: options.name,
      timeout: connectDeadlineMs,
      maxReconnectAttempts: -1,
      reconnectTimeWait: 100,
      reconnectJitter: 200,
      ...(options.user === undefined ? {} : { user: options.user }),
      ...(options.password === undefined ? {} : { pass: options.password }),
      ...(options.inboxPrefix === undefined ? {} : { inboxPrefix: options.inboxPrefix }),
    });
  } catch (cause) {
    const reason = (cause as Error).message;
    const message = `no NATS server took us in at ${options.url}: ${reason}`;
    throw new Fault("NATS_UNREACHABLE", "not-done", message, { cause });
  }
}

async function followStatus(
  connection: NatsConnection,
  onStatus: (status: NatsStatus) => void,
): Promise<void> {
  for await (const status of connection.client.status()) {
    if (status.type === "disconnect") {
      connection.isConnected = false;
      onStatus("disconnected");
    } else if (status.type === "reconnect") {
      connection.isConnected = true;
      onStatus("reconnected");
    } else if (status.type === "slowConsumer") {
      onStatus("slow consumer");
    }
  }
  connection.isConnected = false;
  onStatus("closed");
}

function isNewEnough(version: string): boolean {
  const [major = 0, minor = 0] = version.split(".").map((part) => Number.parseInt(part, 10));
  return major > versionMin[0] || (major === versionMin[0] && minor >= versionMin[1]);
}
