/**
 * The app's side of a device: who is told of what, and who takes which message. A handler
 * that throws is reported and changes nothing, except where it refuses a message.
 */

import { DeviceError, type DeviceErrorCode } from "./device-error.js";
import type { DeviceEvents, DeviceListener, MessageHandler, Unsubscribe } from "./device-events.js";
import type { DeviceMessage } from "./device-message.js";
import type { DeviceOptions } from "./device-options.js";

export type HandlerOptions = Pick<
  DeviceOptions,
  "onMessage" | "onPassing" | "onRecall" | "onTap" | "onConfig" | "onState" | "onError"
>;

type Listeners = { readonly [Name in keyof DeviceEvents]: Set<DeviceListener<Name>> };

export class AppHandlers {
  private readonly listeners: Listeners;
  private readonly byType = new Map<string, Set<MessageHandler>>();

  constructor(private readonly options: HandlerOptions) {
    const { onState, onPassing, onRecall, onTap, onConfig, onError } = options;
    this.listeners = {
      state: new Set(given(onState)),
      passing: new Set(given(onPassing)),
      recall: new Set(given(onRecall)),
      tap: new Set(given(onTap)),
      config: new Set(given(onConfig)),
      error: new Set(given(onError)),
    };
  }

  on<Name extends keyof DeviceEvents>(name: Name, listener: DeviceListener<Name>): Unsubscribe {
    // Its own function: the same one may be given twice, and each takes back its own.
    const own: DeviceListener<Name> = (value) => listener(value);
    const set: Set<DeviceListener<Name>> = this.listeners[name];
    set.add(own);
    return () => void set.delete(own);
  }

  onType(type: string, handler: MessageHandler): Unsubscribe {
    const own: MessageHandler = (message) => handler(message);
    const handlers = this.byType.get(type) ?? new Set<MessageHandler>();
    this.byType.set(type, handlers.add(own));
    return () => {
      handlers.delete(own);
      if (handlers.size === 0 && this.byType.get(type) === handlers) this.byType.delete(type);
    };
  }

  /** Throws or rejects when a handler did: the message is not taken. */
  take(message: DeviceMessage): void | Promise<void> {
    const { type } = message.head;
    const handlers = type === undefined ? undefined : this.byType.get(type);
    if (handlers === undefined) return this.options.onMessage(message);
    const works = [...handlers].map((handler) => handler(message)).filter(isPromise);
    if (works.length > 0) return Promise.all(works).then(() => {});
  }

  tell<Name extends keyof DeviceEvents>(name: Name, value: DeviceEvents[Name]): void {
    for (const listener of [...this.listeners[name]]) {
      try {
        listener(value);
      } catch (cause) {
        // A handler of errors that throws has nobody left to tell.
        if (name !== "error") this.report("HANDLER", `a handler of "${name}" threw`, cause);
      }
    }
  }

  report(code: DeviceErrorCode, message: string, cause?: unknown): void {
    this.tell("error", new DeviceError(code, message, { cause }));
  }
}

function given<Value>(value: Value | undefined): Value[] {
  return value === undefined ? [] : [value];
}

function isPromise(value: void | Promise<void>): value is Promise<void> {
  return value !== undefined;
}
