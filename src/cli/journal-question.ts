/** Asks any node that answers to read the delivery journal: all of them can. */
import { Fault, refused } from "../base/result.js";
import type { ErrorAnswer } from "../protocol/errors.js";
import type { DeskAnswer, JournalRequest } from "../protocol/operator-desk.js";
import type { Fleet } from "./fleet.js";
import type { CommandRefusal } from "./outcome.js";

type Unbounded<Request> = Request extends unknown ? Omit<Request, "deadlineMs"> : never;

/** The node is to have ended before it is given up. */
const shareOfTimeout = 0.8;

/** Throws Fault when no node answered in time. */
export async function askJournal(
  fleet: Fleet,
  question: Unbounded<JournalRequest>,
  timeoutMs: number,
): Promise<DeskAnswer | ErrorAnswer | CommandRefusal> {
  const { nodes } = await fleet.placement();
  const request = { ...question, deadlineMs: Math.floor(timeoutMs * shareOfTimeout) };
  let silence: Fault | undefined;
  for (const node of nodes) {
    try {
      return await fleet.ask(node, request as JournalRequest);
    } catch (error) {
      if (!(error instanceof Fault)) throw error;
      silence = error;
    }
  }
  if (silence !== undefined) throw silence;
  return { ...refused("NOT_READY", "no node is there to read the journal"), retryable: true };
}
