/**
 * Who gets a message: the app, or the system's display first (REQUIREMENTS D11).
 *
 *   kind          in the background                          in front
 *   notification  shown by the system; data on a tap, or      data to the app
 *                 when the app comes to the front
 *   transparent   data to the app                             data to the app
 *
 * What was shown counts as taken once its data is stored: the order behind it goes on.
 *
 * Invariant: one message at a time is in the app's hands, and held ones go before newer
 * ones once somebody looks.
 */
import type { Clock } from "../base/clock.js";
import type { MessageHead } from "../protocol/message-record.js";
import type { AppState } from "./app-state.js";
import type { DeviceMessage } from "./device-message.js";
import type { HeldMessages } from "./held-messages.js";
import type { Notifier, ShownNotification } from "./notifier.js";
import type { Taps } from "./taps.js";

export type Presentation = "data" | "display";

/** Pure. */
export function presentationOf(kind: MessageHead["kind"], app: AppState): Presentation {
  return kind === "notification" && app === "background" ? "display" : "data";
}

export interface PresenterContext {
  readonly clock: Clock;
  readonly held: HeldMessages;
  readonly notifier: Notifier;
  readonly taps: Taps;
  readonly app: () => AppState;
  readonly toApp: (message: DeviceMessage) => void | Promise<void>;
  /** Somebody tapped on it; its data is with the app. */
  readonly onTapped: (message: DeviceMessage) => void;
  readonly onError: (code: "HANDLER" | "STORAGE" | "NOTIFIER", error: unknown) => void;
}

const showTimeoutMs = 5_000;
/** The app refused a held message so often: it is acknowledged, and nobody sends it again. */
const refusalsMax = 5;
/** Handed over last: the word of a tap may come after the app was in front by it. */
const handedMax = 8;

export class Presenter {
  private readonly refusals = new Map<string, number>();
  private handed: readonly DeviceMessage[] = [];
  /** Handing over held ones; undefined when nobody does. */
  private handing: Promise<void> | undefined;
  /** The message that an app's handler is at work on. */
  private working: Promise<void> | undefined;
  private cancelTaps: (() => void) | undefined;

  constructor(private readonly context: PresenterContext) {}

  open(): void {
    this.cancelTaps ??= this.context.taps.listen((id) => this.onTap(id));
  }

  close(): void {
    this.cancelTaps?.();
    this.cancelTaps = undefined;
  }

  /** Returns nothing where the app took it within the turn, as a plain handler does. */
  take(message: DeviceMessage): void | Promise<void> {
    const { held, app } = this.context;
    const isIdle = held.size === 0 && this.handing === undefined;
    if (isIdle && presentationOf(message.head.kind, app()) === "data") return this.give(message);
    return this.takeInTurn(message);
  }

  /** What was stored for this user waits no longer than until somebody looks. */
  async load(account: string): Promise<void> {
    const { held, taps, app } = this.context;
    try {
      await held.load(account);
    } catch (error) {
      this.context.onError("STORAGE", error);
    }
    const isTapped = held.all.some(({ id }) => taps.has(id));
    if (isTapped || app() === "front") void this.handOver();
  }

  /** The edge said who is signed in; undefined where that is known already. */
  signIn(account: string): void | Promise<void> {
    if (!this.context.held.isOf(account)) return this.load(account);
  }

  /** Somebody looks at the app. */
  onFront(): void {
    void this.handOver();
  }

  /** The service took it back: no data, and nothing on the display. */
  recall(id: string): void {
    if (!this.context.held.has(id)) return;
    this.withdraw(id);
    this.release(id);
  }

  private async takeInTurn(message: DeviceMessage): Promise<void> {
    const { held, app } = this.context;
    // It was stored, and the page ended before the message counted as taken.
    const wasHeld = held.has(message.id);
    if (app() === "front") await this.handOver();
    else await this.handing;
    if (wasHeld && !held.has(message.id)) return;
    if (!(await this.isForDisplay(message))) await this.give(message);
    // Somebody looked while it was being shown.
    else if (app() === "front") await this.handOver();
  }

  /** False: it is for the app. Above the bound the oldest goes there; if refused, so does this. */
  private async isForDisplay(message: DeviceMessage): Promise<boolean> {
    const { held, app } = this.context;
    if (presentationOf(message.head.kind, app()) === "data") return false;
    while (held.isFull) if (!(await this.handOldest())) return false;
    return this.display(message);
  }

  /** To the app, when it is done with the one before. */
  private give(message: DeviceMessage): void | Promise<void> {
    if (this.working !== undefined) return this.working.then(() => this.give(message));
    const handling = this.context.toApp(message);
    if (handling === undefined) return;
    const working = handling
      .catch(() => {})
      .then(() => {
        this.working = undefined;
      });
    this.working = working;
    return handling;
  }

  /** Stored before it is shown: what is shown and not stored would be lost with the page. */
  private async display(message: DeviceMessage): Promise<boolean> {
    const { held, onError } = this.context;
    const { id } = message;
    try {
      if (!held.has(id)) await held.hold(message);
    } catch (error) {
      onError("STORAGE", error);
      return false;
    }
    const isShown = held.has(id) && (await this.show(message));
    if (!held.has(id)) {
      // It was taken back meanwhile, or somebody looked and the app has it.
      if (isShown) this.withdraw(id);
      return true;
    }
    if (!isShown) this.release(id);
    return isShown;
  }

  /** Never rejects, and ends: a display that does not answer is one that did not show. */
  private show(message: DeviceMessage): Promise<boolean> {
    const { clock, notifier, onError } = this.context;
    let isLate = false;
    const shown = new Promise<boolean>((give) => give(notifier.show(notificationOf(message))));
    return new Promise((resolve) => {
      const cancel = clock.after(showTimeoutMs, () => {
        isLate = true;
        resolve(false);
      });
      const onEnd = (isShown: boolean): void => {
        cancel();
        if (isLate && isShown) this.withdraw(message.id);
        resolve(isShown);
      };
      shown.then(onEnd, (error) => {
        onError("NOTIFIER", error);
        onEnd(false);
      });
    });
  }

  private withdraw(id: string): void {
    try {
      this.context.notifier.withdraw(id);
    } catch (error) {
      this.context.onError("NOTIFIER", error);
    }
  }

  private onTap(id: string): void {
    const handed = this.handed.find((message) => message.id === id);
    if (handed !== undefined) this.tellTap(handed);
    else if (this.context.held.has(id)) void this.handOver();
  }

  /** Once its data is with the app. */
  private tellTap(message: DeviceMessage): void {
    this.handed = this.handed.filter(({ id }) => id !== message.id);
    if (this.context.taps.take(message.id)) this.context.onTapped(message);
    else this.handed = [...this.handed, message].slice(-handedMax);
  }

  /** All that is held, oldest first; one hand-over at a time. */
  private handOver(): Promise<void> {
    this.handing ??= this.handAll().finally(() => {
      this.handing = undefined;
    });
    return this.handing;
  }

  private async handAll(): Promise<void> {
    while (this.context.held.size > 0) if (!(await this.handOldest())) return;
  }

  /** False when the app did not take it: it stays, and so does all behind it. */
  private async handOldest(): Promise<boolean> {
    const { held, onError } = this.context;
    const message = held.oldest;
    if (message === undefined) return false;
    const { id } = message;
    try {
      await this.give(message);
    } catch (error) {
      onError("HANDLER", error);
      const refusals = (this.refusals.get(id) ?? 0) + 1;
      this.refusals.set(id, refusals);
      if (refusals < refusalsMax) return false;
    }
    this.withdraw(id);
    this.release(id);
    this.tellTap(message);
    return true;
  }

  private release(id: string): void {
    this.refusals.delete(id);
    void this.context.held.release(id).catch((error) => this.context.onError("STORAGE", error));
  }
}

function notificationOf({ id, head }: DeviceMessage): ShownNotification {
  const fields = (head.notification ?? {}) as Readonly<Record<string, unknown>>;
  const text = (value: unknown): string => (typeof value === "string" ? value : "");
  return {
    id,
    title: text(fields.title),
    body: text(fields.body),
    ...(typeof fields.url === "string" ? { url: fields.url } : {}),
    fields,
  };
}
