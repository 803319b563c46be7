/**
 * A session bound to one connection: what of it was received here, and what is
 * acknowledged. It ends with the connection, or with the next `attached` frame.
 *
 * Invariant: reached <= received, both in the generation of the attach; an ack names
 * `reached`, so it never covers what the app has not taken, nor what was not sent here.
 */
import type { Cancel, Clock } from "../base/clock.js";
import { clientKinds } from "../protocol/frames.js";
import type { Position } from "../protocol/position.js";
import { AckBatcher, type AckLimits } from "./ack-batcher.js";
import { deviceMessage } from "./device-message.js";
import type { Intake } from "./intake.js";
import { judgeLink } from "./message-chain.js";
import type { MessageFrame } from "./server-frames.js";

/** Milliseconds until an unanswered resend request is repeated. */
const resendAgainMs = 5_000;
/** Requests without an answer after which the connection counts as broken. */
const resendsMax = 3;

export interface AttachContext {
  readonly clock: Clock;
  readonly ackLimits: AckLimits;
  readonly intake: Intake;
  readonly send: (frame: readonly unknown[]) => void;
  /** Just before an ack leaves. */
  readonly onAck: () => void;
  /** This connection cannot go on; a new one can. */
  readonly onBroken: (reason: string) => void;
}

export class Attach {
  private received: Position;
  private reached: Position | undefined;
  private readonly acks: AckBatcher;
  private resends = 0;
  private cancelResend: Cancel | undefined;

  /** `earlier` is the attach that this one follows on the same connection. */
  constructor(
    readonly session: number,
    base: Position,
    account: string,
    private readonly context: AttachContext,
    earlier?: Attach,
  ) {
    this.acks = new AckBatcher(context.clock, context.ackLimits, () => this.sendAck());
    const before = earlier?.received;
    const hasGap = before?.generation === base.generation && before.seq < base.seq;
    // A new owner goes on where the last one stopped sending. What it sent and we
    // never received must come again, or it would be acknowledged unseen.
    this.received = hasGap ? before : base;
    if (hasGap) {
      // It may be what answers a request, and no nearer: not for ever on one connection.
      this.resends = earlier?.resends ?? 0;
      this.askAgain();
    }
    const onReached = (): void => {
      this.reached = this.received;
      if (earlier !== undefined) this.acks.note();
    };
    this.offer({ kind: "attach", account, base: this.received, onReached });
  }

  onMessage(frame: MessageFrame): void {
    const { generation, seq } = frame;
    switch (judgeLink(this.received, frame)) {
      case "take":
        this.received = { generation, seq };
        this.stopAsking();
        this.take(frame, this.received);
        return;
      case "duplicate":
        this.acks.note();
        return;
      case "stale":
        return;
      case "resend":
        if (this.cancelResend === undefined) this.askAgain();
        return;
    }
  }

  /** Acknowledges what the app has taken, without waiting for more. */
  flush(): void {
    this.acks.flush();
  }

  /** The connection is gone. */
  stop(): void {
    this.acks.stop();
    this.stopAsking();
  }

  private take(frame: MessageFrame, position: Position): void {
    const message = deviceMessage(frame, position);
    const onTaken = (): void => {
      this.reached = position;
      this.acks.note();
    };
    this.offer({ kind: "message", message, position, onTaken });
  }

  private offer(step: Parameters<Intake["offer"]>[0]): void {
    if (!this.context.intake.offer(step)) this.context.onBroken("more messages than any window");
  }

  private sendAck(): void {
    if (this.reached === undefined) return;
    this.context.onAck();
    const { generation, seq } = this.reached;
    this.context.send([clientKinds.ack, this.session, generation, seq]);
  }

  private askAgain(): void {
    if (this.resends === resendsMax) {
      this.context.onBroken("resends stay unanswered");
      return;
    }
    this.resends += 1;
    const { generation, seq } = this.received;
    this.context.send([clientKinds.resend, this.session, generation, seq]);
    this.cancelResend = this.context.clock.after(resendAgainMs, () => this.askAgain());
  }

  private stopAsking(): void {
    this.cancelResend?.();
    this.cancelResend = undefined;
    this.resends = 0;
  }
}
