/** Which of two overlapping subscriptions' pushes were received by both. Pure. */
import type { ReceivedPush } from "../src/protocol/messages.js";

/**
 * What was handed over, until its twin turns up that this node received itself. Counted
 * by (subject, reply, payload): a push that was published twice and received twice by
 * each is there twice.
 */
export class Twins {
  private readonly counted = new Map<string, Uint8Array[]>();
  private count = 0;

  constructor(handed: readonly ReceivedPush[]) {
    for (const push of handed) {
      const payloads = this.counted.get(nameOf(push));
      if (payloads === undefined) this.counted.set(nameOf(push), [push.payload]);
      else payloads.push(push.payload);
    }
    this.count = handed.length;
  }

  get isEmpty(): boolean {
    return this.count === 0;
  }

  /** True for the twin of one that was handed over, which is then counted off. */
  take(push: ReceivedPush): boolean {
    const payloads = this.counted.get(nameOf(push));
    const at = payloads?.findIndex((payload) => isEqual(payload, push.payload)) ?? -1;
    if (at === -1) return false;
    payloads?.splice(at, 1);
    this.count--;
    return true;
  }
}

function nameOf({ subject, reply }: ReceivedPush): string {
  return `${subject} ${reply ?? ""}`;
}

function isEqual(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, at) => byte === b[at]);
}
