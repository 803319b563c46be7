/** How a push of a lane comes to the dead letters. */
import type { Lanes } from "../src/ports/lanes.js";
import type { ErrorAnswer } from "../src/protocol/errors.js";
import type { PlacedMessage } from "./lane-queue.js";

/**
 * Resolves when the letter is safe, or the lane has the message no more. It is read again
 * where its payload was let go, as when burying it has failed before. Throws Fault.
 */
export async function buryMessage(
  queues: Lanes,
  lane: string,
  { key, sequence, storedAtMs, ...message }: PlacedMessage,
  { code, message: reason }: ErrorAnswer,
  attempts: number,
): Promise<void> {
  const payload = message.payload ?? (await queues.read(lane, sequence));
  if (payload === undefined) return;
  await queues.bury({ lane, key, payload, sequence, storedAtMs, code, message: reason, attempts });
}
