/**
 * KeyValue over a JetStream bucket with one revision of history, stored in files.
 *
 * Reads go to the stream's leader and not to any replica (`allow_direct: false`): a
 * lease or a table read from a replica that lags would be compared in vain.
 * A bucket's keys know fewer characters than a subject's tokens, so others are
 * written as `=XX`; a prefix of a key stays a prefix of what is written.
 */
import { JetStreamApiError, jetstream } from "@nats-io/jetstream";
import { type KV, type KvEntry, Kvm } from "@nats-io/kv";
import { RequestError, TimeoutError } from "@nats-io/transport-node";
import { assert } from "../base/assert.js";
import { accepted, Fault, type Result, refused } from "../base/result.js";
import type { KeyValue, KeyValueEntry } from "../ports/key-value.js";
import { askedAgain } from "./nats-asked-again.js";
import { BucketWatch } from "./nats-bucket-watch.js";
import type { NatsConnection } from "./nats-connection.js";
import { followStream } from "./nats-follow.js";
import { ensureBucket, type Replicas } from "./nats-replicas.js";

/** JetStream's JSStreamWrongLastSequenceErrF and its constant form (errors.json). */
const wrongLastSequence = [10_071, 10_164];
const snapshotMs = 10_000;
/**
 * A request that its leader took to its grave is not answered at all. So much later the
 * caller may ask the next one; a lease must outlast several of these.
 */
const requestMs = 2_000;

/** Makes the bucket where it is missing. Throws Fault. */
export async function openKeyValue(
  connection: NatsConnection,
  bucket: string,
  replicas: Replicas = {},
): Promise<KeyValue> {
  await faulting(connection, "not-done", () => ensureBucket(connection, bucket, replicas));
  return bindKeyValue(connection, bucket);
}

/** Opens without making: for users who may only read. */
export async function bindKeyValue(connection: NatsConnection, bucket: string): Promise<KeyValue> {
  const js = jetstream(connection.client, { timeout: requestMs });
  const kv = await faulting(connection, "not-done", () =>
    new Kvm(js).open(bucket, { allow_direct: false }),
  );
  return new NatsKeyValue(connection, kv, bucket);
}

class NatsKeyValue implements KeyValue {
  constructor(
    private readonly connection: NatsConnection,
    private readonly kv: KV,
    private readonly bucket: string,
  ) {}

  async get(key: string): Promise<KeyValueEntry | undefined> {
    const entry = await this.reading(() => this.kv.get(encodeKey(key)));
    return entry === null ? undefined : presentEntry(entry);
  }

  create(key: string, value: Uint8Array): Promise<Result<number, "CONFLICT">> {
    return this.comparing(() => this.kv.create(encodeKey(key), value));
  }

  update(key: string, value: Uint8Array, revision: number): Promise<Result<number, "CONFLICT">> {
    assert(revision > 0, "the revision to update is that of an entry");
    return this.comparing(() => this.kv.update(encodeKey(key), value, revision));
  }

  async delete(key: string, revision: number): Promise<Result<undefined, "CONFLICT">> {
    const options = { previousSeq: revision };
    const done = await this.comparing(async () => {
      await this.kv.delete(encodeKey(key), options);
      return revision;
    });
    return done.ok ? accepted(undefined) : done;
  }

  async list(prefix: string): Promise<readonly KeyValueEntry[]> {
    const { entries } = await this.snapshot(prefix);
    return entries;
  }

  /** Resolves when what is present has been told; for the time after see BucketWatch. */
  async watch(
    prefix: string,
    onChange: (key: string, entry: KeyValueEntry | undefined) => void,
  ): Promise<() => void> {
    const watch = new BucketWatch(
      {
        snapshot: () => this.snapshot(prefix),
        follow: (from, onEntry, onEnd) => this.follow(prefix, from, onEntry, onEnd),
      },
      onChange,
    );
    await watch.start();
    const unwatch = this.connection.watchReturns(() => watch.restart());
    return () => {
      unwatch();
      watch.stop();
    };
  }

  /** What is present now, and the highest revision that this takes in. */
  private async snapshot(prefix: string) {
    const entries: KeyValueEntry[] = [];
    let revision = 0;
    await this.reading(() =>
      within(snapshotMs, async (signal) => {
        const history = await askedAgain((given) => this.history(prefix, given));
        signal.addEventListener("abort", () => history.stop());
        for await (const entry of history) {
          revision = Math.max(revision, entry.revision);
          const present = presentEntry(entry);
          if (present?.key.startsWith(prefix)) entries.push(present);
        }
      }),
    );
    return { entries, revision };
  }

  private async history(prefix: string, given: AbortSignal) {
    const history = await this.kv.history({ key: filterOf(prefix) });
    if (given.aborted) history.stop();
    return history;
  }

  /** Every change from `fromRevision` on, until the returned function is called. */
  private async follow(
    prefix: string,
    fromRevision: number,
    onEntry: (key: string, entry: KeyValueEntry | undefined) => void,
    onEnd: () => void,
  ): Promise<() => void> {
    const subjects = `$KV.${this.bucket}.`;
    const from = { stream: `KV_${this.bucket}`, filter: subjects + filterOf(prefix), fromRevision };
    return this.reading(() =>
      followStream(
        this.connection,
        from,
        ({ subject, data, sequence, isGone }) => {
          const key = decodeKey(subject.slice(subjects.length));
          if (!key.startsWith(prefix)) return;
          onEntry(key, isGone ? undefined : { key, value: data, revision: sequence });
        },
        onEnd,
      ),
    );
  }

  private reading<Value>(read: () => Promise<Value>): Promise<Value> {
    return faulting(this.connection, "not-done", read);
  }

  private async comparing(write: () => Promise<number>): Promise<Result<number, "CONFLICT">> {
    try {
      return accepted(await this.connection.whileConnected(write));
    } catch (cause) {
      if (cause instanceof JetStreamApiError && wrongLastSequence.includes(cause.code)) {
        return refused("CONFLICT", "the key has another revision");
      }
      throw asFault(cause, "unknown");
    }
  }
}

/** Rejects with a TimeoutError and aborts when `run` has not ended in time. */
async function within(limitMs: number, run: (signal: AbortSignal) => Promise<void>): Promise<void> {
  const signal = AbortSignal.timeout(limitMs);
  const late = new Promise<never>((_, reject) => {
    signal.addEventListener("abort", () => reject(new TimeoutError()));
  });
  await Promise.race([run(signal), late]);
}

/** The bucket can only select whole tokens; what else a prefix says is checked on the keys. */
function filterOf(prefix: string): string {
  const tokens = encodeKey(prefix);
  return `${tokens.slice(0, tokens.lastIndexOf(".") + 1)}>`;
}

function presentEntry(entry: KvEntry): KeyValueEntry | undefined {
  if (entry.operation !== "PUT") return undefined;
  return { key: decodeKey(entry.key), value: entry.value, revision: entry.revision };
}

function encodeKey(key: string): string {
  return key.replace(/[^-/.\w]/g, (character) =>
    [...Buffer.from(character)].map((byte) => `=${hex(byte)}`).join(""),
  );
}

function decodeKey(encoded: string): string {
  if (!encoded.includes("=")) return encoded;
  return encoded.replace(/(?:=[0-9A-F]{2})+/g, (bytes) =>
    Buffer.from(bytes.replaceAll("=", ""), "hex").toString(),
  );
}

function hex(byte: number): string {
  return byte.toString(16).toUpperCase().padStart(2, "0");
}

async function faulting<Value>(
  connection: NatsConnection,
  outcome: "not-done" | "unknown",
  step: () => Promise<Value>,
): Promise<Value> {
  try {
    return await connection.whileConnected(step);
  } catch (cause) {
    throw asFault(cause, outcome);
  }
}

/** `outcome` is what an operation without an answer may have come to. */
function asFault(cause: unknown, outcome: "not-done" | "unknown"): Fault {
  if (cause instanceof Fault) {
    const isDone = cause.outcome === outcome || cause.outcome === "not-done";
    return isDone ? cause : new Fault(cause.code, outcome, cause.message, { cause });
  }
  if (cause instanceof TimeoutError) {
    return new Fault("TIMEOUT", outcome, "the bucket did not answer in time", { cause });
  }
  // A refusal by the stream, or nobody there to take it: nothing was written.
  const isAbsent = isNobodyThere(cause);
  const isRefused = cause instanceof JetStreamApiError || isAbsent;
  // The client calls it "not enabled"; on a cluster it is a leader being elected.
  const why = isAbsent ? "nobody leads it now" : (cause as Error).message;
  return new Fault(
    "KV_UNAVAILABLE",
    isRefused ? "not-done" : outcome,
    `the bucket cannot be used: ${why}`,
    { cause },
  );
}

/** The client's JetStreamNotEnabled, which it does not export: no responders. */
function isNobodyThere(cause: unknown): boolean {
  return cause instanceof Error && cause.cause instanceof RequestError
    ? cause.cause.isNoResponders()
    : cause instanceof RequestError && cause.isNoResponders();
}
