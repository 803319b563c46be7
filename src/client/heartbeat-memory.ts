/** What a device knows of the silences that its networks bear, kept over a reload. */
import type { Clock } from "../base/clock.js";
import { isMap } from "../protocol/codec.js";
import type { DeviceStorage } from "./device-storage.js";
import {
  afterBorne,
  afterSilence,
  type HeartbeatLimits,
  type HeartbeatMemory,
  nothingKnown,
  wantedHeartbeatMs,
} from "./heartbeat-plan.js";
import { LatestWriter } from "./latest-writer.js";
import type { NetworkType } from "./network-source.js";

const recordVersion = 1;
const networks: readonly NetworkType[] = ["wifi", "cellular", "ethernet", "unknown"];
/** A ping this much earlier than its interval came behind other traffic, and proves nothing. */
const wholeSilence = 0.9;

export class Heartbeats {
  private readonly known = new Map<NetworkType, HeartbeatMemory>();
  private loading: Promise<void> | undefined;
  private readonly key: string;
  private readonly writer: LatestWriter;

  constructor(
    private readonly clock: Clock,
    private readonly limits: HeartbeatLimits,
    private readonly storage: DeviceStorage,
    keyPrefix: string,
    private readonly onError: (error: unknown) => void,
  ) {
    this.key = `${keyPrefix}heartbeat`;
    this.writer = new LatestWriter(storage, onError);
  }

  /** Reads the storage the first time. */
  load(): Promise<void> {
    this.loading ??= this.read();
    return this.loading;
  }

  private async read(): Promise<void> {
    try {
      const record: unknown = JSON.parse((await this.storage.get(this.key)) ?? "{}");
      if (!isMap(record) || record.v !== recordVersion) return;
      for (const network of networks) {
        const memory = readMemory(record[network]);
        if (memory !== undefined) this.known.set(network, memory);
      }
    } catch (error) {
      this.onError(error);
    }
  }

  /** What to ask the edge for. */
  wantedMs(network: NetworkType, isInFront: boolean): number | undefined {
    return wantedHeartbeatMs(this.of(network), isInFront, this.limits);
  }

  /** A ping came, so long after what came before it; true when another interval is wanted now. */
  onPing(network: NetworkType, silenceMs: number, intervalMs: number): boolean {
    if (silenceMs < intervalMs * wholeSilence) return false;
    const before = this.of(network);
    const after = afterBorne(before, intervalMs, this.clock.wallMs(), this.limits);
    this.keep(network, after);
    return after.wantedMs !== before.wantedMs;
  }

  /** Nothing came by the deadline. */
  onSilence(network: NetworkType, intervalMs: number): void {
    if (network === "none") return;
    const after = afterSilence(this.of(network), intervalMs, this.clock.wallMs(), this.limits);
    this.keep(network, after);
  }

  private of(network: NetworkType): HeartbeatMemory {
    return this.known.get(network) ?? nothingKnown;
  }

  private keep(network: NetworkType, memory: HeartbeatMemory): void {
    const before = this.of(network);
    this.known.set(network, memory);
    // Written when something was learnt, not with each ping.
    if (memory.wantedMs === before.wantedMs && memory.lostMs === before.lostMs) return;
    const record = { v: recordVersion, ...Object.fromEntries(this.known) };
    this.writer.write(this.key, JSON.stringify(record));
  }
}

function readMemory(value: unknown): HeartbeatMemory | undefined {
  if (!isMap(value)) return undefined;
  const fields = ["wantedMs", "borneMs", "lostMs", "lostAtMs"] as const;
  const read: { -readonly [Field in keyof HeartbeatMemory]: HeartbeatMemory[Field] } = {
    ...nothingKnown,
  };
  for (const field of fields) {
    const number = value[field];
    if (typeof number === "number" && number > 0 && Number.isFinite(number)) read[field] = number;
  }
  return read;
}
