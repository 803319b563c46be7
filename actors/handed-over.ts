/** Which of two overlapping subscriptions' pushes were received by both. Pure. */
import type { ReceivedPush } from "../src/protocol/messages.js";

/**
 * `own` without what is in `handed`, counted by (subject, reply, payload): a push that
 * was published twice and received twice by each stays there twice.
 */
export function withoutHanded(
  own: readonly ReceivedPush[],
  handed: readonly ReceivedPush[],
): ReceivedPush[] {
  const counted = new Map<string, Uint8Array[]>();
  for (const push of handed) {
    const payloads = counted.get(nameOf(push));
    if (payloads === undefined) counted.set(nameOf(push), [push.payload]);
    else payloads.push(push.payload);
  }
  return own.filter((push) => {
    const payloads = counted.get(nameOf(push));
    const at = payloads?.findIndex((payload) => isEqual(payload, push.payload)) ?? -1;
    if (at !== -1) payloads?.splice(at, 1);
    return at === -1;
  });
}

function nameOf({ subject, reply }: ReceivedPush): string {
  return `${subject} ${reply ?? ""}`;
}

function isEqual(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, at) => byte === b[at]);
}
