/**
 * The requests of a node that have not been answered: each is, within its deadline, also
 * when the store hangs or a session does not come up. One list and one sweep for all of
 * them, no timer each; those that were answered leave it with the next sweep.
 *
 * At its deadline a push's fate is unknown. What is committed later is delivered, and not
 * answered a second time.
 */
import type { Limits } from "./limits.js";
import type { PushRequest } from "./push-request.js";

/** Between the sweep and the requester's own deadline, for the way of the answer. */
const answerMarginMs = 500;

/** What came before that is to be answered now. */
export function overdueBefore(nowMs: number, { requestDeadlineMs }: Limits): number {
  return nowMs - (requestDeadlineMs - answerMarginMs);
}

/** So many leave a sweep answered; the others wait for the next, which then comes soon. */
const answersPerSweep = 500;

export class OpenRequests {
  private open: PushRequest[] = [];
  overdue = 0;

  constructor(private readonly max: number) {}

  get count(): number {
    return this.open.length;
  }

  /** False when there are too many: it is to be refused. */
  add(request: PushRequest): boolean {
    if (this.open.length >= this.max) return false;
    this.open.push(request);
    return true;
  }

  /** Their shards have another owner, who answers. All at once: each call walks all requests. */
  closeShards(shards: Pick<ReadonlyMap<number, unknown>, "has">): void {
    for (const request of this.open) if (shards.has(request.shard)) request.close();
  }

  /** Answers what came before `beforeMs`; true when some of that is left. */
  sweep(beforeMs: number, answer: (request: PushRequest) => void): boolean {
    const kept: PushRequest[] = [];
    let answered = 0;
    for (const request of this.open) {
      if (request.isAnswered) continue;
      if (request.sinceMs >= beforeMs || answered >= answersPerSweep) {
        kept.push(request);
        continue;
      }
      answered++;
      answer(request);
    }
    this.open = kept;
    this.overdue += answered;
    return answered >= answersPerSweep;
  }
}
