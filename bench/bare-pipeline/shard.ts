/**
 * The yardstick's shard process: takes pushes from NATS, puts what arrived meanwhile
 * into one LMDB transaction together with the trims of acked ones, waits for its
 * flush, answers, and hands the batch to the edge. One app, one device a user; no
 * checks, epochs, windows, expiry, resends, change log or recovery.
 */
import { connect, type Msg, type NatsConnection } from "@nats-io/transport-node";
import { type Database, open } from "lmdb";
import { serve } from "../harness/worker-process.js";
import { bodyBytes, bodyOf } from "../load/body.js";
import {
  ackBytes,
  acksSubject,
  type BareOptions,
  deliveriesSubject,
  deliveryBytes,
  writePair,
} from "./wire.js";

interface Push {
  readonly key: Buffer;
  readonly body: Buffer;
  readonly reply: string;
}

const accepted = Buffer.from([0x81, 0xa2, 0x6f, 0x6b, 0xc3]);

class BareShard {
  private waiting: Push[] = [];
  private trims: Buffer[] = [];
  private isCommitting = false;
  private readonly lastSeq = new Map<number, number>();
  private readonly trimmedSeq = new Map<number, number>();

  constructor(
    private readonly client: NatsConnection,
    private readonly store: Database<Buffer, Buffer>,
  ) {}

  onPush(message: Msg): void {
    const user = Number(message.subject.slice(message.subject.lastIndexOf(".") + 2));
    const seq = (this.lastSeq.get(user) ?? 0) + 1;
    this.lastSeq.set(user, seq);
    const body = bodyOf(
      Buffer.from(message.data.buffer, message.data.byteOffset, message.data.length),
    );
    this.waiting.push({ key: pair(user, seq), body, reply: message.reply ?? "" });
    this.commitSoon();
  }

  /** Acks are cumulative: everything up to the named number goes. */
  onAcks({ data }: Msg): void {
    const acks = Buffer.from(data.buffer, data.byteOffset, data.length);
    for (let at = 0; at < acks.length; at += ackBytes) {
      const user = acks.readUInt32BE(at);
      const ackedSeq = acks.readUInt32BE(at + 4);
      for (let seq = (this.trimmedSeq.get(user) ?? 0) + 1; seq <= ackedSeq; seq++) {
        this.trims.push(pair(user, seq));
      }
      this.trimmedSeq.set(user, ackedSeq);
    }
    this.commitSoon();
  }

  left(): number {
    return this.store.getKeysCount();
  }

  private commitSoon(): void {
    if (this.isCommitting) return;
    this.isCommitting = true;
    setImmediate(() => this.commit());
  }

  private async commit(): Promise<void> {
    const { waiting, trims } = this;
    this.waiting = [];
    this.trims = [];
    await this.store.batch(() => {
      for (const { key, body } of waiting) void this.store.put(key, body);
      for (const key of trims) void this.store.remove(key);
    });
    for (const { reply } of waiting) this.client.publish(reply, accepted);
    this.deliver(waiting);
    this.isCommitting = false;
    if (this.waiting.length + this.trims.length > 0) this.commitSoon();
  }

  private deliver(pushes: readonly Push[]): void {
    for (let from = 0; from < pushes.length; from += deliveriesMax) {
      const part = pushes.slice(from, from + deliveriesMax);
      const batch = Buffer.allocUnsafe(part.length * deliveryBytes);
      let at = 0;
      for (const { key, body } of part) {
        key.copy(batch, at);
        body.copy(batch, at + ackBytes, 0, bodyBytes);
        at += deliveryBytes;
      }
      this.client.publish(deliveriesSubject, batch);
    }
  }
}

const deliveriesMax = Math.floor((64 * 1024) / deliveryBytes);

function pair(user: number, seq: number): Buffer {
  const key = Buffer.allocUnsafe(ackBytes);
  writePair(key, 0, user, seq);
  return key;
}

let shard: BareShard | undefined;

serve({
  async start({ url, user, password, inboxPrefix, dataFolder }: BareOptions) {
    const client = await connect({ servers: url, user, pass: password, inboxPrefix });
    // As Belfry opens it: a put resolves when it is flushed to the disk.
    const store = open<Buffer, Buffer>({
      path: dataFolder,
      encoding: "binary",
      keyEncoding: "binary",
      overlappingSync: false,
      eventTurnBatching: false,
      mapSize: 4 * 1024 ** 3,
    });
    const started = new BareShard(client, store);
    shard = started;
    client.subscribe("shard.*.push.demo.*", { callback: (_, message) => started.onPush(message) });
    client.subscribe(acksSubject, { callback: (_, message) => started.onAcks(message) });
    await client.flush();
  },
  left: () => shard?.left() ?? 0,
});
