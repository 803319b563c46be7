/**
 * Events of an app as they happen: receipts of messages, presence of users. A plain
 * subscription: what happens while the service is not connected is not told again.
 *
 * Bounded: events wait for the handler, which is called with one at a time; beyond the bound
 * they are dropped and counted.
 */
import { isMap } from "../protocol/codec.js";
import { eventVersion, type PresenceKind, type ReceiptKind } from "../protocol/service-event.js";
import type { ServiceConnection, ServiceMessage } from "./service-connection.js";

export type { PresenceKind, ReceiptKind } from "../protocol/service-event.js";

interface AppEvent {
  readonly uid: string;
  /** By the clock of the node that published it. */
  readonly atMs: number;
}

export interface Receipt extends AppEvent {
  readonly kind: ReceiptKind;
  /** The message's MsgID, as the push was answered. */
  readonly id: string;
  readonly device?: string;
  readonly seq?: number;
}

export interface PresenceEvent extends AppEvent {
  readonly kind: PresenceKind;
  readonly device?: string;
}

export interface EventOptions {
  /** Events that wait for the handler; 10,000 unless given. */
  readonly pendingMax?: number;
  /** Called with what a handler threw or rejected with; the next event is handled. */
  readonly onError?: (error: unknown) => void;
}

export interface EventSubscription {
  /** Beyond `pendingMax`. */
  readonly dropped: number;
  /** Of another version, or no events at all. */
  readonly unreadable: number;
  readonly pending: number;
  /** What waits is dropped, too; the handler that runs ends by itself. */
  unsubscribe(): void;
}

const pendingMaxDefault = 10_000;

/** Undefined for what is not such an event. */
export function readReceipt(data: Uint8Array): Receipt | undefined {
  const event = readEvent(data);
  if (event === undefined || typeof event["id"] !== "string") return undefined;
  return event as unknown as Receipt;
}

/** Undefined for what is not such an event. */
export function readPresence(data: Uint8Array): PresenceEvent | undefined {
  return readEvent(data) as unknown as PresenceEvent | undefined;
}

function readEvent(data: Uint8Array): Record<string, unknown> | undefined {
  let event: unknown;
  try {
    event = JSON.parse(new TextDecoder().decode(data));
  } catch {
    return undefined;
  }
  if (!isMap(event) || event["v"] !== eventVersion) return undefined;
  const { kind, uid, atMs } = event;
  const isEvent = typeof kind === "string" && typeof uid === "string" && typeof atMs === "number";
  return isEvent ? event : undefined;
}

export class EventFeed<Event> implements EventSubscription {
  dropped = 0;
  unreadable = 0;
  private waiting: Event[] = [];
  private isHandling = false;
  private readonly subscription: { unsubscribe(): void };
  private isOver = false;

  constructor(
    connection: ServiceConnection,
    subject: string,
    private readonly read: (data: Uint8Array) => Event | undefined,
    private readonly handler: (event: Event) => void | Promise<void>,
    private readonly options: EventOptions,
  ) {
    const callback = (error: Error | null, message: ServiceMessage) => {
      if (error === null) this.take(message);
      else options.onError?.(error);
    };
    this.subscription = connection.subscribe(subject, { callback });
  }

  get pending(): number {
    return this.waiting.length;
  }

  unsubscribe(): void {
    if (this.isOver) return;
    this.isOver = true;
    this.waiting = [];
    this.subscription.unsubscribe();
  }

  private take({ data }: ServiceMessage): void {
    if (this.isOver) return;
    const event = this.read(data);
    if (event === undefined) this.unreadable += 1;
    else if (this.waiting.length >= (this.options.pendingMax ?? pendingMaxDefault)) {
      this.dropped += 1;
    } else {
      this.waiting.push(event);
      if (!this.isHandling) void this.handleAll();
    }
  }

  /** One after the other, so that a service sees them in their order. */
  private async handleAll(): Promise<void> {
    this.isHandling = true;
    for (let event = this.waiting.shift(); event !== undefined; event = this.waiting.shift()) {
      try {
        await this.handler(event);
      } catch (error) {
        this.options.onError?.(error);
      }
    }
    this.isHandling = false;
  }
}
