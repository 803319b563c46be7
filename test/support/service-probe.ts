/**
 * How long users are without service: each is asked again and again until it answers.
 *
 * A request that reached a process as it died is never answered, so after `patienceMs`
 * another one goes beside it, and the first answer counts; while nobody listens at all
 * the server says so at once.
 */
import { setTimeout as delay } from "node:timers/promises";
import { NatsBus } from "../../src/drivers/nats-bus.js";
import { packValue, unpackValue } from "../../src/protocol/codec.js";
import type { PushAnswer } from "../../src/protocol/push-answer.js";
import { pushUserSubject } from "../../src/protocol/subjects.js";
import { app, type Platform } from "./platform.js";

export interface ProbeOptions {
  readonly everyMs?: number;
  readonly deadlineMs?: number;
}

const patienceMs = 200;
/** Stored like any other push, and soon gone where there is no device. */
const probe = packValue({ body: 0, ttl: 1 });

/** When each user answered first, by `performance.now()`; throws after the deadline. */
export async function timesOfService(
  platform: Platform,
  users: readonly string[],
  { everyMs = 20, deadlineMs = 20_000 }: ProbeOptions = {},
): Promise<Map<string, number>> {
  const endMs = performance.now() + deadlineMs;
  const bus = new NatsBus(platform.operator);
  const answered = new Map<string, number>();
  const ask = async (uid: string) => {
    const leftMs = endMs - performance.now();
    const isOk = await bus
      .request(pushUserSubject(app, uid), probe, leftMs)
      .then((answer) => (unpackValue(answer) as PushAnswer).ok)
      .catch(() => false);
    if (isOk && !answered.has(uid)) answered.set(uid, performance.now());
  };
  const askUntilAnswered = async (uid: string, at: number) => {
    await delay((everyMs * at) / users.length);
    while (!answered.has(uid)) {
      if (performance.now() > endMs) throw new Error(`${uid} was not served in ${deadlineMs} ms`);
      const nextMs = performance.now() + everyMs;
      await Promise.race([ask(uid), delay(patienceMs)]);
      if (!answered.has(uid)) await delay(Math.max(0, nextMs - performance.now()));
    }
  };
  await Promise.all(users.map(askUntilAnswered));
  return answered;
}

/** From `sinceMs` until the last of them is served. */
export async function msUntilServed(
  platform: Platform,
  users: readonly string[],
  sinceMs: number,
  options?: ProbeOptions,
): Promise<number> {
  const times = await timesOfService(platform, users, options);
  return Math.max(...times.values()) - sinceMs;
}
