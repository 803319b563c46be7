/**
 * What one user of this installation has beyond any connection: what was taken and what is
 * held, and the way of a message to the app's handlers.
 */
import type { AppHandlers } from "./app-handlers.js";
import type { DeviceMemory } from "./device-memory.js";
import { deviceMessage } from "./device-message.js";
import type { DeviceParts } from "./device-parts.js";
import type { HeldMessages } from "./held-messages.js";
import { Intake } from "./intake.js";
import type { Openings } from "./openings.js";
import { Presenter } from "./presenter.js";
import type { PassingFrame, RecalledFrame } from "./server-frames.js";

export interface InboxParts {
  readonly parts: Pick<DeviceParts, "clock" | "notifier" | "taps" | "surroundings">;
  readonly memory: DeviceMemory;
  readonly held: HeldMessages;
  readonly app: AppHandlers;
  readonly openings: Openings;
  /** The app did not take a message, which is reported; it has to come again. */
  readonly onRejected: () => void;
}

export class UserInbox {
  readonly memory: DeviceMemory;
  readonly presenter: Presenter;
  readonly intake: Intake;
  private readonly app: AppHandlers;

  constructor({ parts, memory, held, app, openings, onRejected }: InboxParts) {
    const { clock, notifier, taps, surroundings } = parts;
    this.memory = memory;
    this.app = app;
    this.presenter = new Presenter({
      ...{ clock, held, notifier, taps },
      app: () => surroundings.now.app,
      toApp: (message) => app.take(message),
      onTapped: (message) => {
        openings.note(message.id);
        app.tell("tap", message);
      },
      onError: (code, cause) => app.report(code, "a notification or its message failed", cause),
    });
    this.intake = new Intake(
      memory,
      (message) => this.presenter.take(message),
      (cause) => {
        app.report("HANDLER", "onMessage failed; the message will be delivered again", cause);
        onRejected();
      },
      (account) => (memory.isLoaded ? this.signIn(account) : this.loadAndSignIn(account)),
    );
  }

  /** A token says whose it is: what is held for that user need not wait for the edge's word. */
  async expect(account: string): Promise<void> {
    await this.memory.load();
    // Nothing of one user's is given to an app that signs in another.
    if (this.memory.isOfAnother(account)) this.intake.drop();
    await this.presenter.load(account);
  }

  onPassing(frame: PassingFrame): void {
    if (this.memory.hasSeen(frame.id)) return;
    this.memory.see(frame.id);
    this.app.tell("passing", deviceMessage(frame));
  }

  /** What still waits for the app is passed over when its turn comes. */
  onRecalled({ ids }: RecalledFrame): void {
    for (const id of ids) {
      this.memory.see(id);
      this.presenter.recall(id);
      this.app.tell("recall", id);
    }
  }

  /** Nothing more is shown or handed over; what is stored stays. */
  close(): void {
    this.presenter.close();
    this.intake.drop();
  }

  private signIn(account: string): void | Promise<void> {
    this.memory.signIn(account);
    return this.presenter.signIn(account);
  }

  /** The edge said who it is before the storage was read. */
  private async loadAndSignIn(account: string): Promise<void> {
    await this.memory.load();
    await this.signIn(account);
  }
}
