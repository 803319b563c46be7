/**
 * What asks a cluster for a new consumer. Until a cluster has noticed that a server is dead it
 * gives it its share of them (nats-server 2.10.27: for more than 40 s after kill -9, each third
 * one of three servers), and who asked hears nothing. So a new one is asked for soon, each
 * time with more patience: a busy server is not dead.
 */
import { setTimeout as delay } from "node:timers/promises";

const patienceMs = [300, 500, 1_000] as const;

/**
 * `ask` is given a signal that says when nobody waits for its answer any more: what comes then
 * it undoes. Throws what it throws; the last one has the client's own patience.
 */
export async function askedAgain<Answer>(
  ask: (given: AbortSignal) => Promise<Answer>,
): Promise<Answer> {
  for (const ms of patienceMs) {
    const giveUp = new AbortController();
    const asked = ask(giveUp.signal).then((answer) => ({ answer }));
    const timer = new AbortController();
    const tired = delay(ms, undefined, { signal: timer.signal }).catch(() => undefined);
    const heard = await Promise.race([asked, tired]).finally(() => timer.abort());
    if (heard !== undefined) return heard.answer;
    giveUp.abort();
    asked.catch(() => undefined);
  }
  return ask(new AbortController().signal);
}
