/** One device of the load, whichever protocol it speaks. */
export interface Device {
  /** Messages taken since the last ack. */
  unacked: number;
  /** Resolves when it is served; rejects when it is closed before. */
  readonly ready: Promise<void>;
  /** Acknowledges everything up to the last message. */
  sendAck(): void;
  close(): void;
}

export interface DeviceEvents {
  /** `body` is valid during the call only. */
  onMessage(device: Device, body: Buffer): void;
  /** It owes an ack for what it had before. */
  onRepeat(device: Device): void;
  onFrameError(): void;
  /** It was served and is closed. */
  onLost(reason: string): void;
}
