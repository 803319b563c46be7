/**
 * Time, randomness and storage where the SDK runs: a browser or Node, by what both
 * have in common. Each is only the default of an option.
 */
import type { Clock } from "../base/clock.js";
import type { Random } from "../base/random.js";
import { type AppStateSource, alwaysInFront, documentAppState } from "./app-state.js";
import type { DeviceStorage } from "./device-storage.js";
import type { HttpFetch } from "./dispatcher.js";
import { browserNetwork, type NetworkSource, unknownNetwork } from "./network-source.js";
import { type Notifier, noNotifier, serviceWorkerNotifier } from "./notifier.js";
import type { TapStore } from "./tap-notes.js";
import type { WorkerContainer } from "./worker-display.js";

export const platformClock: Clock = {
  wallMs: () => Date.now(),
  monotonicMs: () => performance.now(),
  after(delayMs, callback) {
    const handle = setTimeout(callback, delayMs);
    return () => clearTimeout(handle);
  },
  soon: (callback) => queueMicrotask(callback),
};

export const platformRandom: Random = { next: () => Math.random() };

/** localStorage where there is one that may be used, else memory that ends with the process. */
export function platformStorage(): DeviceStorage {
  return webStorage("localStorage");
}

/** As long as one tab, reloads included; else memory. */
export function tabStorage(): DeviceStorage {
  return webStorage("sessionStorage");
}

function webStorage(name: "localStorage" | "sessionStorage"): DeviceStorage {
  try {
    const storage = globalThis[name];
    if (typeof storage?.getItem === "function") {
      return {
        get: (key) => storage.getItem(key),
        set: (key, value) => storage.setItem(key, value),
      };
    }
  } catch {
    // A page may be forbidden to touch it.
  }
  return memoryStorage();
}

export function memoryStorage(): DeviceStorage {
  const values = new Map<string, string>();
  return {
    get: (key) => values.get(key) ?? null,
    set: (key, value) => void values.set(key, value),
  };
}

export const platformFetch: HttpFetch = (url, init) => fetch(url, init);

export function platformAppState(): AppStateSource {
  const { document } = globalThis;
  return document?.visibilityState === undefined ? alwaysInFront : documentAppState(document);
}

/** Off where there is no service worker to show anything. */
export function platformNotifier(): Notifier {
  const { navigator, Notification } = globalThis;
  const workers = navigator?.serviceWorker as WorkerContainer | undefined;
  if (workers === undefined || Notification === undefined) return noNotifier;
  return serviceWorkerNotifier(workers, () => Notification.permission, undefined, tapStore());
}

function tapStore(): TapStore | undefined {
  try {
    return (globalThis as { caches?: TapStore }).caches;
  } catch {
    // A page may be forbidden to touch it.
    return undefined;
  }
}

export function platformNetwork(): NetworkSource {
  const { window } = globalThis;
  const isBrowser = window !== undefined && window.navigator?.onLine !== undefined;
  return isBrowser ? browserNetwork(window) : unknownNetwork;
}
