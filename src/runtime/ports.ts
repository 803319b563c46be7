/**
 * What the runtime needs from outside besides time and randomness: a bus that
 * carries bytes between processes. Drivers implement it over NATS and in memory.
 */
export interface Bus {
  /** Hands `payload` to the bus without waiting; at most once. */
  publish(subject: string, payload: Uint8Array, options?: PublishOptions): void;
  /** Calls `onMessage` for each message on `subject` (NATS wildcards); `payload` is the callee's. */
  subscribe(subject: string, onMessage: (message: BusMessage) => void): BusSubscription;
  /**
   * One answer from whoever serves `subject`.
   * Throws Fault("NO_RESPONDERS", "not-done") at once when nobody subscribes,
   * Fault("TIMEOUT", "unknown") at the deadline,
   * Fault("DISCONNECTED", "not-done") when the bus is gone already, "unknown" when it goes.
   */
  request(subject: string, payload: Uint8Array, deadlineMs: number): Promise<Uint8Array>;
  /** Resolves when the server has processed all that was published and subscribed before. */
  flush(): Promise<void>;
  /** False while what is published goes nowhere; undefined where the bus cannot tell. */
  readonly isConnected?: boolean;
  /** Largest payload of one message in bytes, as the server announced it. */
  readonly payloadMax: number;
}

export interface PublishOptions {
  readonly reply?: string;
}

export interface BusMessage {
  readonly subject: string;
  readonly payload: Uint8Array;
  readonly reply?: string;
}

export interface BusSubscription {
  unsubscribe(): void;
}
