/**
 * Which notifications somebody tapped on, until what they showed is with the app: a tap that
 * opened the page anew is known before it is known whose the message is.
 *
 * Bound: the last `tapsMax`; of the oldest the app gets the data alone.
 */
import type { Cancel } from "../base/clock.js";
import type { Notifier } from "./notifier.js";

const tapsMax = 16;

export class Taps {
  private readonly ids = new Set<string>();
  private readonly listeners = new Set<(id: string) => void>();
  private cancel: Cancel | undefined;

  constructor(private readonly notifier: Notifier) {}

  listen(listener: (id: string) => void): Cancel {
    this.cancel ??= this.notifier.onTap((id) => this.note(id));
    this.listeners.add(listener);
    return () => {
      this.listeners.delete(listener);
      if (this.listeners.size > 0) return;
      this.cancel?.();
      this.cancel = undefined;
    };
  }

  has(id: string): boolean {
    return this.ids.has(id);
  }

  /** True once for each: who asks tells the app. */
  take(id: string): boolean {
    return this.ids.delete(id);
  }

  private note(id: string): void {
    this.ids.add(id);
    const [oldest] = this.ids;
    if (this.ids.size > tapsMax && oldest !== undefined) this.ids.delete(oldest);
    for (const listener of [...this.listeners]) listener(id);
  }
}
