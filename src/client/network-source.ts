/** What the device is connected by, as far as its platform tells; React Native's NetInfo fits. */
import type { Cancel } from "../base/clock.js";

/** `none`: no network at all. `unknown`: there is one, and the platform does not say which. */
export type NetworkType = "wifi" | "cellular" | "ethernet" | "none" | "unknown";

export interface NetworkSource {
  current(): NetworkType;
  /** Calls `listener` whenever `current` may have changed, until it is cancelled. */
  onChange(listener: () => void): Cancel;
}

/** What of a browser's `window` tells of its network; `connection` only some have. */
export interface BrowserNetwork extends Listened {
  readonly navigator: {
    readonly onLine: boolean;
    readonly connection?: Listened & { readonly type?: string };
  };
}

interface Listened {
  addEventListener(type: string, listener: () => void): void;
  removeEventListener(type: string, listener: () => void): void;
}

export function browserNetwork(window: BrowserNetwork): NetworkSource {
  const { navigator } = window;
  return {
    current() {
      if (!navigator.onLine) return "none";
      const type = navigator.connection?.type;
      return type === "wifi" || type === "cellular" || type === "ethernet" ? type : "unknown";
    },
    onChange(listener) {
      const { connection } = navigator;
      for (const type of ["online", "offline"]) window.addEventListener(type, listener);
      connection?.addEventListener("change", listener);
      return () => {
        for (const type of ["online", "offline"]) window.removeEventListener(type, listener);
        connection?.removeEventListener("change", listener);
      };
    },
  };
}

/** Where nobody tells: one network that is always there. */
export const unknownNetwork: NetworkSource = { current: () => "unknown", onChange: () => () => {} };
