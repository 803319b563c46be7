/**
 * What a tab of a shared device hands to its app.
 *
 * Invariant: each message once, also where it was relayed to the tab before that began to lead
 * and receives it itself; and in order, what was relayed first.
 */
import type { AppHandlers } from "./app-handlers.js";
import type { DeviceMessage } from "./device-message.js";
import { SeenIds } from "./seen-ids.js";
import { TabQueue } from "./tab-queue.js";

const shownMax = 4_096;

export class TabInbox {
  private readonly shown = new SeenIds(shownMax);
  /** What handlers are at work on: one of this tab's own, and one that was relayed. */
  private readonly taking = new Map<string, Promise<void>>();
  private readonly queue: TabQueue;

  constructor(private readonly app: AppHandlers) {
    this.queue = new TabQueue((message) => this.take(message), app);
  }

  /** False when the app has it; from now on it has. */
  isNew(id: string): boolean {
    if (this.shown.has(id)) return false;
    this.shown.add(id);
    return true;
  }

  /** By the tab that is connected. */
  onRelayed(message: DeviceMessage): void {
    this.queue.add(message);
  }

  /** By this tab's own device. Throws or rejects as the app does. */
  onReceived(message: DeviceMessage): void | Promise<void> {
    const { running } = this.queue;
    return running === undefined ? this.take(message) : running.then(() => this.take(message));
  }

  /** Somebody tapped on what was relayed before. */
  onTap(message: DeviceMessage): void {
    const { running } = this.queue;
    if (running === undefined) this.app.tell("tap", message);
    else void running.then(() => this.app.tell("tap", message));
  }

  onRecalled(id: string): void {
    this.queue.drop(id);
  }

  /** The app wants nothing more of what waits. */
  clear(): void {
    this.queue.clear();
  }

  private take(message: DeviceMessage): void | Promise<void> {
    const { id } = message;
    if (this.shown.has(id)) return;
    // In the app's hands from when this tab led, and relayed by the tab that leads now.
    const earlier = this.taking.get(id);
    if (earlier !== undefined) return earlier;
    const handling = this.app.take(message);
    if (handling === undefined) {
      this.shown.add(id);
      return;
    }
    const taken = handling
      .then(() => this.shown.add(id))
      .finally(() => void this.taking.delete(id));
    this.taking.set(id, taken);
    return taken;
  }
}
