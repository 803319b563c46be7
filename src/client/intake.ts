/**
 * Hands messages to the app, one at a time and in order, over all connections of
 * the device.
 *
 * What waits here survives a reconnect: it is in order, and what the edge then sends
 * again is recognised by its position or its id when its turn comes. When the app
 * refuses a message, everything behind it is dropped unacknowledged, so that the
 * platform sends all of it again and the order holds.
 */
import type { Position } from "../protocol/position.js";
import type { DeviceMemory } from "./device-memory.js";
import type { DeviceMessage } from "./device-message.js";

/** Above the edge's window (64), also after a reconnect with a full one. */
export const intakeMax = 1_024;

export type Step =
  | {
      readonly kind: "message";
      readonly message: DeviceMessage;
      readonly position: Position;
      /** The app took it, now or earlier. */
      readonly onTaken: () => void;
    }
  /** An attach begins: all that waits before it is of the attach before. */
  | {
      readonly kind: "attach";
      readonly account: string;
      readonly base: Position;
      readonly onReached: () => void;
    };

export class Intake {
  private readonly steps: Step[] = [];
  private isRunning = false;

  constructor(
    private readonly memory: DeviceMemory,
    private readonly onMessage: (message: DeviceMessage) => void | Promise<void>,
    private readonly onRejected: (error: unknown) => void,
    /** What follows is this user's: has `memory` know it, and never rejects. */
    private readonly signIn: (account: string) => void | Promise<void> = (account) =>
      memory.signIn(account),
  ) {}

  /** False when too much waits: the edge sends more than any window allows. */
  offer(step: Step): boolean {
    if (this.steps.length >= intakeMax) return false;
    this.steps.push(step);
    if (!this.isRunning) void this.run();
    return true;
  }

  /** Forgets what waits; the message in the app's hands is still followed. */
  drop(): void {
    this.steps.length = 0;
  }

  private async run(): Promise<void> {
    this.isRunning = true;
    for (let step = this.steps.shift(); step !== undefined; step = this.steps.shift()) {
      if (step.kind === "attach") {
        const ready = this.signIn(step.account);
        if (ready !== undefined) await ready;
        this.memory.reach(step.base);
        step.onReached();
        continue;
      }
      const { message, position } = step;
      if (!this.memory.hasTaken(message.id, position)) {
        try {
          // Nothing is awaited for a plain handler, which so sees a burst in one turn.
          const handling = this.onMessage(message);
          if (handling !== undefined) await handling;
        } catch (error) {
          this.drop();
          this.onRejected(error);
          continue;
        }
      }
      this.memory.see(message.id);
      this.memory.reach(position);
      step.onTaken();
    }
    this.isRunning = false;
  }
}
