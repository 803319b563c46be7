/** KeyValue over a JetStream bucket with one revision of history, stored in files. */
import { JetStreamApiError } from "@nats-io/jetstream";
import { type KV, type KvEntry, Kvm } from "@nats-io/kv";
import { accepted, Fault, type Result, refused } from "../base/result.js";
import type { KeyValue, KeyValueEntry } from "../ports/key-value.js";
import type { NatsConnection } from "./nats-connection.js";

/** JetStream: the last sequence is not the expected one. */
const wrongLastSequence = 10_071;

/** Makes the bucket where it is missing. Throws Fault("KV_UNAVAILABLE"). */
export async function openKeyValue(
  connection: NatsConnection,
  bucket: string,
  replicas = 1,
): Promise<KeyValue> {
  const kv = await faulting(() =>
    new Kvm(connection.client).create(bucket, { history: 1, replicas }),
  );
  return new NatsKeyValue(kv);
}

/** Opens without making: for users who may only read. */
export async function bindKeyValue(connection: NatsConnection, bucket: string): Promise<KeyValue> {
  return new NatsKeyValue(await faulting(() => new Kvm(connection.client).open(bucket)));
}

class NatsKeyValue implements KeyValue {
  constructor(private readonly kv: KV) {}

  async get(key: string): Promise<KeyValueEntry | undefined> {
    const entry = await faulting(() => this.kv.get(key));
    return entry === null ? undefined : present(entry);
  }

  create(key: string, value: Uint8Array): Promise<Result<number, "CONFLICT">> {
    return comparing(() => this.kv.create(key, value));
  }

  update(key: string, value: Uint8Array, revision: number): Promise<Result<number, "CONFLICT">> {
    return comparing(() => this.kv.update(key, value, revision));
  }

  async delete(key: string): Promise<void> {
    await faulting(() => this.kv.delete(key));
  }

  async list(prefix: string): Promise<readonly KeyValueEntry[]> {
    const keys: string[] = [];
    const found = await faulting(() => this.kv.keys(filterOf(prefix)));
    for await (const key of found) keys.push(key);
    const entries = await Promise.all(keys.map((key) => this.get(key)));
    return entries.filter((entry) => entry !== undefined);
  }

  async watch(
    prefix: string,
    onChange: (key: string, entry: KeyValueEntry | undefined) => void,
  ): Promise<() => void> {
    const watcher = await faulting(() => this.kv.watch({ key: filterOf(prefix) }));
    void (async () => {
      for await (const entry of watcher) onChange(entry.key, present(entry));
    })();
    return () => watcher.stop();
  }
}

function filterOf(prefix: string): string {
  // Key prefixes end where a token ends: "node." is "node.>".
  return prefix === "" ? ">" : `${prefix}>`;
}

function present(entry: KvEntry): KeyValueEntry | undefined {
  if (entry.operation !== "PUT") return undefined;
  return { key: entry.key, value: entry.value, revision: entry.revision };
}

async function comparing(write: () => Promise<number>): Promise<Result<number, "CONFLICT">> {
  try {
    return accepted(await write());
  } catch (cause) {
    if (cause instanceof JetStreamApiError && cause.code === wrongLastSequence) {
      return refused("CONFLICT", "another revision is there");
    }
    throw asFault(cause);
  }
}

async function faulting<Value>(step: () => Promise<Value>): Promise<Value> {
  try {
    return await step();
  } catch (cause) {
    throw asFault(cause);
  }
}

function asFault(cause: unknown): Fault {
  return new Fault("KV_UNAVAILABLE", "unknown", String(cause), { cause });
}
