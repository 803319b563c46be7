/**
 * What a page's service worker adds so that a tap on a notification leads to the app:
 *
 *   import { serveNotifications } from "belfry/service-worker";
 *   serveNotifications(self);
 */
import { noteTap, type TapStore } from "./tap-notes.js";

interface WorkerWindow {
  readonly focused?: boolean;
  readonly visibilityState?: string;
  postMessage(message: unknown): void;
  focus(): Promise<unknown>;
}

interface TapEvent {
  readonly notification: { readonly data: unknown; close(): void };
  waitUntil(work: Promise<unknown>): void;
}

export interface WorkerScope {
  readonly caches: TapStore;
  readonly clients: {
    matchAll(filter: {
      type: "window";
      includeUncontrolled: boolean;
    }): Promise<readonly WorkerWindow[]>;
    openWindow(url: string): Promise<unknown>;
  };
  addEventListener(type: "notificationclick", listener: (event: TapEvent) => void): void;
}

interface Tapped {
  readonly id: string;
  readonly url?: string;
}

/** Notifications that are not Belfry's are left to the worker's other listeners. */
export function serveNotifications(worker: WorkerScope): void {
  worker.addEventListener("notificationclick", (event) => {
    const { data } = event.notification;
    const tapped = (data as { belfry?: Tapped } | null)?.belfry;
    if (tapped === undefined) return;
    event.notification.close();
    event.waitUntil(lead(worker, tapped));
  });
}

/** All windows are told, since any may be the one that is connected; one comes to the front. */
async function lead({ clients, caches }: WorkerScope, { id, url }: Tapped): Promise<void> {
  // A browser that forbids it: then a page that is opened anew gets the data alone.
  await noteTap(caches, id).catch(() => {});
  const windows = await clients.matchAll({ type: "window", includeUncontrolled: true });
  for (const window of windows) window.postMessage({ belfry: { tapped: id } });
  const visible = windows.find(({ visibilityState }) => visibilityState === "visible");
  const nearest = windows.find(({ focused }) => focused) ?? visible ?? windows[0];
  // A new window finds the message in the storage, and that it was tapped on.
  if (nearest === undefined) await clients.openWindow(url ?? "./");
  else await nearest.focus();
}
