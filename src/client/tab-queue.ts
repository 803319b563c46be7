/** What was relayed to a tab, handed to its app one at a time and in order. */
import type { AppHandlers } from "./app-handlers.js";
import type { DeviceMessage } from "./device-message.js";

/** A tab whose app is slower loses the oldest: they are acknowledged, and other tabs have them. */
const waitingMax = 1_024;

export class TabQueue {
  private waiting: DeviceMessage[] = [];
  /** Until all that was added is with the app; undefined when nothing waits. */
  running: Promise<void> | undefined;

  constructor(
    private readonly take: (message: DeviceMessage) => void | Promise<void>,
    private readonly app: AppHandlers,
  ) {}

  add(message: DeviceMessage): void {
    this.waiting.push(message);
    if (this.waiting.length > waitingMax) {
      this.waiting.shift();
      this.app.report(
        "HANDLER",
        `this tab is ${waitingMax} messages behind; the oldest is left out`,
      );
    }
    this.running ??= Promise.resolve().then(() => this.run());
  }

  /** It was taken back. */
  drop(id: string): void {
    this.waiting = this.waiting.filter((message) => message.id !== id);
  }

  /** The app wants nothing more; what is in its hands it has. */
  clear(): void {
    this.waiting = [];
  }

  private async run(): Promise<void> {
    for (let next = this.waiting.shift(); next !== undefined; next = this.waiting.shift()) {
      try {
        const handling = this.take(next);
        if (handling !== undefined) await handling;
      } catch (cause) {
        this.app.report("HANDLER", "onMessage failed on what another tab received", cause);
      }
    }
    this.running = undefined;
  }
}
