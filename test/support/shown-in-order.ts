/** What a test's devices were shown of what was sent to each user. */
import assert from "node:assert/strict";
import { until } from "./until.js";

/** Waits until each user was shown all that was sent, and holds it to the order, none twice. */
export async function untilShownInOrder(
  sent: ReadonlyMap<string, readonly unknown[]>,
  received: ReadonlyMap<string, readonly unknown[]>,
): Promise<void> {
  for (const [user, wanted] of sent) {
    await until(`${user} has all that was sent`, () => {
      const shown = new Set(received.get(user));
      return wanted.every((body) => shown.has(body));
    });
    assert.deepEqual(received.get(user), wanted, `${user}: in order, none twice`);
  }
}
