/**
 * Whether somebody looks at the app in any tab. What another tab said holds for a while only:
 * a tab that crashed says nothing, and one that is looked at repeats itself.
 *
 * Bound: `tabsMax` other tabs in front, of which a person has a few.
 */
import type { Cancel, Clock } from "../base/clock.js";
import type { AppState, AppStateSource } from "./app-state.js";

const tabsMax = 64;

export class MergedAppState implements AppStateSource {
  /** Other tabs in front, each with the end of its word. */
  private readonly inFront = new Map<string, Cancel>();
  private readonly listeners = new Set<() => void>();
  private readonly waits = new Set<() => void>();

  constructor(
    private readonly clock: Clock,
    private readonly own: AppStateSource,
    private readonly holdsMs: number,
  ) {}

  current(): AppState {
    return this.inFront.size > 0 ? "front" : this.own.current();
  }

  onChange(listener: () => void): Cancel {
    this.listeners.add(listener);
    const cancelOwn = this.own.onChange(listener);
    return () => {
      this.listeners.delete(listener);
      cancelOwn();
    };
  }

  /** What another tab says of itself. */
  note(tab: string, app: AppState): void {
    this.inFront.get(tab)?.();
    this.inFront.delete(tab);
    if (app === "front" && this.inFront.size < tabsMax) {
      this.inFront.set(
        tab,
        this.clock.after(this.holdsMs, () => this.note(tab, "background")),
      );
    }
    for (const listener of [...this.listeners]) listener();
  }

  /**
   * Calls `then` with the tab that somebody looks at, undefined for this one, as soon as there
   * is one; with this one after `graceMs`, or when nobody else is heard any more.
   */
  whenFront(graceMs: number, then: (tab: string | undefined) => void): void {
    const end = (): void => {
      this.waits.delete(end);
      stop();
      cancel();
      const isHere = this.own.current() === "front";
      then(isHere ? undefined : [...this.inFront.keys()].at(-1));
    };
    const stop = this.onChange(() => {
      if (this.current() === "front") end();
    });
    const cancel = this.clock.after(graceMs, end);
    this.waits.add(end);
    if (this.current() === "front") end();
  }

  /** Nobody else is heard any more. */
  close(): void {
    for (const end of [...this.waits]) end();
    for (const cancel of this.inFront.values()) cancel();
    this.inFront.clear();
  }
}
