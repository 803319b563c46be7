/** What the yardstick's two processes say to each other: records of fixed size, side by side. */
import { bodyBytes } from "../load/body.js";

export interface BareOptions {
  readonly url: string;
  readonly user: string;
  readonly password: string;
  readonly inboxPrefix: string;
  readonly dataFolder: string;
}

export const deliveriesSubject = "node.bare.deliveries";
export const acksSubject = "node.bare.acks";

/** User and number. */
export const ackBytes = 8;
export const deliveryBytes = ackBytes + bodyBytes;

export function writePair(bytes: Buffer, at: number, user: number, seq: number): void {
  bytes.writeUInt32BE(user, at);
  bytes.writeUInt32BE(seq, at + 4);
}
