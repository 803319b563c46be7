/**
 * Messages that were shown by the system and acknowledged, whose data waits until somebody
 * looks at the app. Kept over a reload, within a bound.
 */
import { isMap, packValue, unpackValue } from "../protocol/codec.js";
import type { DeviceMessage } from "./device-message.js";
import type { DeviceStorage } from "./device-storage.js";

/** Each takes some storage, which a browser gives 5 MB of. */
export const heldMax = 64;
const heldCharactersMax = 256 * 1024;
const recordVersion = 1;

interface Held {
  readonly message: DeviceMessage;
  readonly text: string;
}

export class HeldMessages {
  private readonly messages: Held[] = [];
  private account: string | undefined;
  private characters = 0;
  private loading: Promise<void> = Promise.resolve();
  private isRead = false;
  private readonly key: string;

  constructor(
    private readonly storage: DeviceStorage,
    keyPrefix: string,
  ) {
    this.key = `${keyPrefix}held`;
  }

  /** Reads what is stored for this user; another user's is forgotten. Rejects as the storage does. */
  load(account: string): Promise<void> {
    if (account !== this.account) {
      this.account = account;
      this.isRead = false;
      this.messages.length = 0;
      this.characters = 0;
      this.loading = this.read(account);
    }
    return this.loading;
  }

  isOf(account: string): boolean {
    return account === this.account;
  }

  private async read(account: string): Promise<void> {
    const record = parse((await this.storage.get(this.key)) ?? "");
    if (account !== this.account) return;
    this.isRead = true;
    if (record.account !== account) return;
    for (const text of Array.isArray(record.messages) ? record.messages : []) {
      const message = typeof text === "string" ? unpackMessage(text) : undefined;
      if (message !== undefined) this.add({ message, text: text as string });
    }
  }

  get size(): number {
    return this.messages.length;
  }

  get oldest(): DeviceMessage | undefined {
    return this.messages[0]?.message;
  }

  /** Oldest first. */
  get all(): readonly DeviceMessage[] {
    return this.messages.map(({ message }) => message);
  }

  has(id: string): boolean {
    return this.messages.some(({ message }) => message.id === id);
  }

  /** Before one more is held the oldest has to go to the app. */
  get isFull(): boolean {
    return this.messages.length >= heldMax || this.characters >= heldCharactersMax;
  }

  /**
   * Resolves when it is stored; rejects, and holds it not, when that failed, or would write
   * over what could not be read.
   */
  async hold(message: DeviceMessage): Promise<void> {
    if (!this.isRead) throw new Error("what is held could not be read");
    const held = { message, text: packMessage(message) };
    this.add(held);
    try {
      await this.save();
    } catch (error) {
      this.drop(message.id);
      throw error;
    }
  }

  /** The app has it, or it was taken back. Rejects as the storage does. */
  async release(id: string): Promise<void> {
    if (this.drop(id)) await this.save();
  }

  private add(held: Held): void {
    this.messages.push(held);
    this.characters += held.text.length;
  }

  private drop(id: string): boolean {
    const at = this.messages.findIndex(({ message }) => message.id === id);
    const [held] = at < 0 ? [] : this.messages.splice(at, 1);
    this.characters -= held?.text.length ?? 0;
    return held !== undefined;
  }

  private async save(): Promise<void> {
    const messages = this.messages.map(({ text }) => text);
    const record = { v: recordVersion, account: this.account, messages };
    await this.storage.set(this.key, JSON.stringify(record));
  }
}

/** As msgpack, since a body may hold bytes. */
function packMessage({ id, position, head, body, acceptedAtMs }: DeviceMessage): string {
  const where = position === undefined ? null : [position.generation, position.seq];
  let text = "";
  for (const byte of packValue([id, where, acceptedAtMs ?? null, head, body])) {
    text += String.fromCharCode(byte);
  }
  return btoa(text);
}

function unpackMessage(text: string): DeviceMessage | undefined {
  try {
    const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
    const [id, where, acceptedAtMs, head, body] = unpackValue(bytes) as [
      string,
      [number, number] | null,
      number | null,
      DeviceMessage["head"],
      unknown,
    ];
    if (typeof id !== "string" || !isMap(head)) return undefined;
    return {
      id,
      head,
      body,
      ...(where === null ? {} : { position: { generation: where[0], seq: where[1] } }),
      ...(acceptedAtMs === null ? {} : { acceptedAtMs }),
    };
  } catch {
    return undefined;
  }
}

function parse(text: string): Record<string, unknown> {
  try {
    const record: unknown = JSON.parse(text);
    return isMap(record) && record.v === recordVersion ? record : {};
  } catch {
    return {};
  }
}
