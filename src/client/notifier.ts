/**
 * What shows a notification while nobody looks at the app: the system, by way of a service
 * worker in browsers, of a native module elsewhere.
 */
import type { Cancel } from "../base/clock.js";
import { isMap } from "../protocol/codec.js";
import { forgetTap, type TapStore, takeTaps } from "./tap-notes.js";
import { type WorkerContainer, WorkerDisplay } from "./worker-display.js";

export interface ShownNotification {
  /** MsgID: one that is shown under it already is replaced. */
  readonly id: string;
  readonly title: string;
  readonly body: string;
  /** Where a tap leads, if the service said. */
  readonly url?: string;
  /** All that the service said for the display. */
  readonly fields: Readonly<Record<string, unknown>>;
}

export interface Notifier {
  /** False when it may not be shown, or cannot: then the app gets the message at once. */
  show(notification: ShownNotification): boolean | Promise<boolean>;
  /** The message was taken back, or its data went to the app. */
  withdraw(id: string): void;
  /** Somebody tapped on one. */
  onTap(listener: (id: string) => void): Cancel;
}

/** Where nothing can be shown, every message is the app's at once. */
export const noNotifier: Notifier = {
  show: () => false,
  withdraw: () => {},
  onTap: () => () => {},
};

/**
 * Shows by the page's service worker, where there is one and the person allowed it;
 * service-worker.ts is what the worker adds for taps. `onError` for logs.
 */
export function serviceWorkerNotifier(
  workers: WorkerContainer,
  permission: () => string,
  onError: (error: unknown) => void = () => {},
  /** Where the worker notes taps; without it a page that a tap opened does not hear of it. */
  store?: TapStore,
): Notifier {
  const display = new WorkerDisplay(workers, onError);
  return {
    async show({ id, title, body, url, fields }) {
      if (permission() !== "granted") return false;
      const registration = await workers.getRegistration();
      if (!registration?.active) return false;
      const { icon, badge } = fields;
      await display.show(registration, title, {
        body,
        tag: id,
        data: { belfry: { id, ...(url === undefined ? {} : { url }) } },
        ...(typeof icon === "string" ? { icon } : {}),
        ...(typeof badge === "string" ? { badge } : {}),
      });
      return true;
    },
    withdraw(id) {
      display.withdraw(id);
    },
    onTap(listener) {
      const onMessage = ({ data }: { data: unknown }): void => {
        const tapped = isMap(data) && isMap(data.belfry) ? data.belfry.tapped : undefined;
        if (typeof tapped !== "string") return;
        if (store !== undefined) void forgetTap(store, tapped).catch(onError);
        listener(tapped);
      };
      workers.addEventListener("message", onMessage);
      // Without the permission none was shown.
      if (store !== undefined && permission() === "granted") {
        takeTaps(store).then((ids) => ids.forEach(listener), onError);
      }
      return () => workers.removeEventListener("message", onMessage);
    },
  };
}
