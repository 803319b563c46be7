/**
 * Asks again until there is an answer; throws after the deadline and says what it waited for.
 *
 * The deadline is mere patience: no test is about it, and a machine that is busy needs a lot.
 */
import { setTimeout as delay } from "node:timers/promises";

export async function until<Value>(
  what: string,
  probe: () => Value | Promise<Value>,
  deadlineMs = 60_000,
): Promise<Exclude<Value, undefined | false | null>> {
  const endMs = performance.now() + deadlineMs;
  for (;;) {
    const answer = await probe();
    if (answer !== undefined && answer !== false && answer !== null) {
      return answer as Exclude<Value, undefined | false | null>;
    }
    if (performance.now() > endMs) throw new Error(`waited in vain until ${what}`);
    await delay(10);
  }
}
