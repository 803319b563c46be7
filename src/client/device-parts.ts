/** What a device is made of, from the app's options and the platform's defaults. */
import type { Clock } from "../base/clock.js";
import type { Random } from "../base/random.js";
import type { AckLimits } from "./ack-batcher.js";
import { AddressBook } from "./address-book.js";
import type { DeviceErrorCode } from "./device-error.js";
import { DeviceMemory } from "./device-memory.js";
import type { DeviceOptions } from "./device-options.js";
import type { DeviceSocketConstructor } from "./device-socket.js";
import type { DeviceStorage } from "./device-storage.js";
import { isHttps } from "./dispatcher.js";
import { EdgeFinder } from "./edge-finder.js";
import { Heartbeats } from "./heartbeat-memory.js";
import { heartbeatLimits } from "./heartbeat-plan.js";
import { HeldMessages } from "./held-messages.js";
import { HoldMemory } from "./hold-memory.js";
import { type Notifier, noNotifier } from "./notifier.js";
import { answeringInTime } from "./patient-storage.js";
import {
  platformAppState,
  platformClock,
  platformFetch,
  platformNetwork,
  platformNotifier,
  platformRandom,
  platformStorage,
} from "./platform.js";
import { ReconnectPace } from "./reconnect-pace.js";
import { type Seen, Surroundings } from "./surroundings.js";
import { Taps } from "./taps.js";

export interface DeviceParts {
  readonly clock: Clock;
  readonly random: Random;
  readonly socket: DeviceSocketConstructor;
  readonly ackLimits: AckLimits;
  readonly pace: ReconnectPace;
  readonly holds: HoldMemory;
  readonly memory: DeviceMemory;
  readonly surroundings: Surroundings;
  readonly finder: EdgeFinder;
  readonly heartbeats: Heartbeats;
  readonly held: HeldMessages;
  readonly notifier: Notifier;
  readonly taps: Taps;
  readonly storage: DeviceStorage;
  /** Before each key in it. */
  readonly prefix: string;
}

export interface PartsContext {
  readonly report: (code: DeviceErrorCode, message: string, cause?: unknown) => void;
  readonly onSurroundings: (now: Seen, before: Seen) => void;
}

/** Throws when no address or no WebSocket is there to use. */
export function makeParts(options: DeviceOptions, context: PartsContext): DeviceParts {
  const { urls, dispatcher } = addressesOf(options);
  const socket = options.socket ?? globalThis.WebSocket;
  if (socket === undefined) {
    throw new TypeError("no global WebSocket here: pass `socket`, in Node the one of `ws`");
  }
  const clock = options.clock ?? platformClock;
  const random = options.random ?? platformRandom;
  const storage = answeringInTime(options.storage ?? platformStorage(), clock);
  const prefix = options.storagePrefix ?? "belfry.";
  const onFailed = (cause: unknown) => context.report("STORAGE", "the storage failed", cause);
  const holds = new HoldMemory(clock, storage, prefix, onFailed);
  const pace = new ReconnectPace(clock, random, options.backoff, (heldMs) => holds.note(heldMs));
  const network = options.network ?? platformNetwork();
  const appState = options.appState ?? platformAppState();
  const isSecure =
    dispatcher === undefined ? urls.every((url) => /^wss:/i.test(url)) : isHttps(dispatcher);
  const notifier =
    options.notifier === false ? noNotifier : (options.notifier ?? platformNotifier());
  const limits = { ...heartbeatLimits, ...options.heartbeat };
  return {
    clock,
    random,
    socket,
    ackLimits: { messagesMax: 32, delayMs: 50, ...options.acks },
    pace,
    holds,
    memory: new DeviceMemory(storage, prefix, onFailed),
    surroundings: new Surroundings(network, appState, context.onSurroundings),
    finder: new EdgeFinder({
      clock,
      random,
      book: new AddressBook(storage, prefix, urls, isSecure, onFailed),
      pace,
      network,
      dispatcher,
      fetch: options.fetch ?? platformFetch,
      onFailed: (reason) => context.report("DISPATCHER", reason),
      owner: options,
    }),
    heartbeats: new Heartbeats(clock, limits, storage, prefix, onFailed),
    held: new HeldMessages(storage, prefix),
    notifier,
    taps: new Taps(notifier),
    storage,
    prefix,
  };
}

function addressesOf({ url, urls, dispatcher }: DeviceOptions) {
  const own = urls ?? (url === undefined ? [] : [url]);
  if (own.length === 0 && dispatcher === undefined) {
    throw new TypeError("createDevice needs a url, urls or a dispatcher");
  }
  return { urls: own, dispatcher };
}
