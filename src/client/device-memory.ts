/**
 * What a device remembers over a reload: who it is, its connect counter, the last
 * position that the app took and whose, and the ids of what it took last.
 *
 * The position is written with each message, the ids (longer) with each ack. A crash
 * between the app's taking and the write shows the message again: at least once.
 */
import { isMap } from "../protocol/codec.js";
import { isSequence, type Position } from "../protocol/position.js";
import type { DeviceStorage } from "./device-storage.js";
import { LatestWriter } from "./latest-writer.js";
import { isCovered } from "./message-chain.js";
import { SeenIds } from "./seen-ids.js";

const seenIdsMax = 4_096;
/** 16 characters each: about 5 KB of storage, rewritten with each ack. */
const storedIdsMax = 256;
const recordVersion = 1;
/** Clocks that are set differ by less. */
const behindMs = 60_000;
/** The year 2248: a number that is not to be reached by a server's mistake. */
const serverMsMax = 2 ** 43;

export class DeviceMemory {
  /** This installation's name, once made or given. */
  device: string | undefined;
  private connectCount = 0;
  private serverMs = 0;
  private account: string | undefined;
  private taken: Position | undefined;
  private seen = new SeenIds(seenIdsMax);
  private loading: Promise<void> | undefined;
  private isRead = false;
  /** Some of it could not be. */
  private isUnread = false;
  private readonly writer: LatestWriter;

  constructor(
    private readonly storage: DeviceStorage,
    private readonly keyPrefix: string,
    private readonly onError: (error: unknown) => void,
  ) {
    this.writer = new LatestWriter(storage, onError);
  }

  /**
   * Reads the storage the first time, within the turn where it answers at once. What cannot be
   * read counts as absent, and nothing is written over it: it is there for the next time.
   */
  load(): Promise<void> {
    this.loading ??= this.readAll();
    return this.loading;
  }

  private readAll(): Promise<void> {
    const values = ["device", "connect", "position", "seen"].map((name) => this.read(name));
    if (values.some((value) => value instanceof Promise)) {
      return Promise.all(values).then((read) => this.restoreAll(read));
    }
    this.restoreAll(values as (string | undefined)[]);
    return Promise.resolve();
  }

  /** What is stored is known. */
  get isLoaded(): boolean {
    return this.isRead;
  }

  private restoreAll([device, connect, position, seen]: readonly (string | undefined)[]): void {
    if (device) this.device = device;
    this.connectCount = isSequence(Number(connect)) ? Number(connect) : 0;
    this.restore(parseRecord(position), parseRecord(seen));
    this.isRead = true;
  }

  get position(): Position | undefined {
    return this.taken;
  }

  nameDevice(device: string): string {
    this.device = device;
    this.write("device", device);
    return device;
  }

  /** Of an edge's welcome; a clock of our own may be behind, such as one that no battery keeps. */
  noteServerTime(serverMs: unknown): void {
    if (isSequence(serverMs) && serverMs < serverMsMax) this.serverMs = serverMs;
  }

  /** The last hello's number may be below those of an earlier start, when the clock was right. */
  get isCounterBehind(): boolean {
    return this.serverMs - this.connectCount > behindMs;
  }

  /** A number above all before it, on this installation and, by the clocks, on a restored one. */
  nextConnect(wallMs: number): number {
    this.connectCount = Math.max(this.connectCount + 1, wallMs, this.serverMs);
    this.write("connect", String(this.connectCount));
    return this.connectCount;
  }

  /** The position to resume from, if it is this user's. */
  positionOf(account: string | undefined): Position | undefined {
    return account !== undefined && account === this.account ? this.taken : undefined;
  }

  isOfAnother(account: string): boolean {
    return this.account !== undefined && this.account !== account;
  }

  /** The edge said who is signed in; what is remembered of another user is forgotten. */
  signIn(account: string): void {
    if (account === this.account) return;
    // What was seen before anybody was signed in is nobody else's.
    if (this.account !== undefined) this.seen = new SeenIds(seenIdsMax);
    this.account = account;
    this.taken = undefined;
  }

  hasTaken(id: string, position: Position): boolean {
    return isCovered(position, this.taken) || this.seen.has(id);
  }

  hasSeen(id: string): boolean {
    return this.seen.has(id);
  }

  /** The app took the message with this id. */
  see(id: string): void {
    this.seen.add(id);
  }

  /** Everything up to `position` is taken; moves forward within a generation. */
  reach(position: Position): void {
    if (isCovered(position, this.taken)) return;
    this.taken = position;
    const { generation, seq } = position;
    const { account } = this;
    this.write("position", JSON.stringify({ v: recordVersion, account, generation, seq }));
  }

  /** Writes the newest ids, once it is known whose they are. */
  saveSeen(): void {
    if (this.account === undefined) return;
    const ids = this.seen.newest(storedIdsMax);
    const { account } = this;
    this.write("seen", JSON.stringify({ v: recordVersion, account, ids }));
  }

  private restore(position: Record<string, unknown>, seen: Record<string, unknown>): void {
    if (typeof position.account !== "string") return;
    this.account = position.account;
    const { generation, seq } = position;
    if (isSequence(generation) && isSequence(seq)) this.taken = { generation, seq };
    if (seen.account !== this.account || !Array.isArray(seen.ids)) return;
    const ids = seen.ids.filter((id) => typeof id === "string");
    // What was seen while the storage was being read is newer.
    this.seen = new SeenIds(seenIdsMax, [...ids, ...this.seen.newest(seenIdsMax)]);
  }

  private read(name: string): string | undefined | Promise<string | undefined> {
    const onFailed = (error: unknown): undefined => {
      this.isUnread = true;
      this.onError(error);
    };
    try {
      const value = this.storage.get(this.keyPrefix + name);
      if (!(value instanceof Promise)) return value ?? undefined;
      return value.then((text) => text ?? undefined, onFailed);
    } catch (error) {
      return onFailed(error);
    }
  }

  private write(name: string, value: string): void {
    if (!this.isUnread) this.writer.write(this.keyPrefix + name, value);
  }
}

/** An empty map for what is absent, damaged or of another version. */
function parseRecord(text: string | undefined): Record<string, unknown> {
  if (text === undefined) return {};
  try {
    const record: unknown = JSON.parse(text);
    return isMap(record) && record.v === recordVersion ? record : {};
  } catch {
    return {};
  }
}
