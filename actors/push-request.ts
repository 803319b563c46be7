/**
 * A push on its way to its answer, from the moment it was taken up here. Whoever answers
 * claims it first, so that a push is answered once, also when its commit ends after the
 * deadline by which its publisher was told that its fate is unknown.
 */
import type { ErrorCode } from "../src/protocol/errors.js";
import type { BusReply } from "../src/protocol/messages.js";
import type { Encoding } from "../src/protocol/push-command.js";

/** Where pushes wait, which is told when one does not any more. */
export interface WaitingRoom {
  leave(): void;
}

/** Counts answers by their reason; undefined is accepted. */
export interface Tally {
  note(code: ErrorCode | undefined): void;
}

export class PushRequest implements BusReply {
  isAnswered = false;
  /** Known once the push has been looked at. */
  account: Tally | undefined = undefined;
  /** It waits for a session or its commit. */
  room: WaitingRoom | undefined = undefined;

  constructor(
    readonly subject: string,
    readonly encoding: Encoding,
    readonly shard: number,
    readonly incarnation: string,
    readonly sinceMs: number,
  ) {}

  /** `code`: why it is refused; undefined when it is accepted. */
  claim(code: ErrorCode | undefined): boolean {
    if (this.isAnswered) return false;
    this.close();
    this.account?.note(code);
    return true;
  }

  /** Nobody here answers it any more. */
  close(): void {
    this.isAnswered = true;
    this.room?.leave();
    this.room = undefined;
  }
}
