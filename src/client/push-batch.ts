/**
 * Many pushes with a bounded number in flight: those of one user go one after the other, in
 * the order given, so that a repeat of one never comes behind the next.
 */
import type { PushAnswer } from "../protocol/push-answer.js";
import type { Push } from "./push-encoding.js";

/** One of a batch; `uid` is the user's name, not encoded. */
export interface UserPush {
  readonly uid: string;
  readonly push: Push;
}

export interface BatchOptions {
  /** Requests in flight, of as many users; 64 unless given, at most 1,024. */
  readonly concurrency?: number;
  /** Of the whole batch; 30,000 unless given, at most nine minutes. */
  readonly deadlineMs?: number;
}

/** `key` is the push's idempotency key: what has an unknown fate may be repeated under it. */
export type BatchAnswer = PushAnswer & { readonly key: string };

const concurrencyDefault = 64;
const concurrencyMax = 1_024;

/** One answer a push, in their order. `pushOne` does not reject. */
export async function runBatch(
  pushes: readonly UserPush[],
  { concurrency = concurrencyDefault }: BatchOptions,
  pushOne: (push: UserPush) => Promise<BatchAnswer>,
): Promise<BatchAnswer[]> {
  const answers: BatchAnswer[] = [];
  const ofUsers = [...indicesByUser(pushes).values()];
  let next = 0;
  const work = async (): Promise<void> => {
    for (let indices = ofUsers[next++]; indices !== undefined; indices = ofUsers[next++]) {
      for (const index of indices) answers[index] = await pushOne(pushes[index] as UserPush);
    }
  };
  const workers = Math.max(1, Math.min(concurrency, concurrencyMax, ofUsers.length));
  await Promise.all(Array.from({ length: workers }, work));
  return answers;
}

function indicesByUser(pushes: readonly UserPush[]): Map<string, number[]> {
  const byUser = new Map<string, number[]>();
  for (const [index, { uid }] of pushes.entries()) {
    const indices = byUser.get(uid);
    if (indices === undefined) byUser.set(uid, [index]);
    else indices.push(index);
  }
  return byUser;
}
