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
    if (handlers === undefined) return workOf(this.options.onMessage(message));
    const works: Promise<void>[] = [];
    for (const handler of [...handlers]) {
      try {
        const work = workOf(handler(message));
        if (work !== undefined) works.push(work);
      } catch (cause) {
        works.push(Promise.reject(cause));
      }
    }
    if (works.length > 0) return allDone(works);
  }

  tell<Name extends keyof DeviceEvents>(name: Name, value: DeviceEvents[Name]): void {
    // A handler of errors that throws has nobody left to tell.
    const onFailed = (cause: unknown): void => {
      if (name !== "error") this.report("HANDLER", `a handler of "${name}" threw`, cause);
    };
    for (const listener of [...this.listeners[name]]) {
      try {
        workOf(listener(value))?.catch(onFailed);
      } catch (cause) {
        onFailed(cause);
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

/** What is to be waited for; programs without types return anything, such as a length. */
function workOf(returned: unknown): Promise<void> | undefined {
  const isThenable = typeof (returned as PromiseLike<unknown> | undefined)?.then === "function";
  return isThenable ? Promise.resolve(returned).then(() => {}) : undefined;
}

/** None is at work any more when it settles; rejects as the first that did. */
async function allDone(works: readonly Promise<void>[]): Promise<void> {
  const ends = await Promise.allSettled(works);
  for (const end of ends) if (end.status === "rejected") throw end.reason;
}
