/** Whether somebody looks at the app; React Native's AppState fits. */
import type { Cancel } from "../base/clock.js";

export type AppState = "front" | "background";

export interface AppStateSource {
  current(): AppState;
  /** Calls `listener` whenever `current` may have changed, until it is cancelled. */
  onChange(listener: () => void): Cancel;
}

export interface VisibleDocument {
  readonly visibilityState: string;
  addEventListener(type: "visibilitychange", listener: () => void): void;
  removeEventListener(type: "visibilitychange", listener: () => void): void;
}

export function documentAppState(document: VisibleDocument): AppStateSource {
  return {
    current: () => (document.visibilityState === "hidden" ? "background" : "front"),
    onChange(listener) {
      document.addEventListener("visibilitychange", listener);
      return () => document.removeEventListener("visibilitychange", listener);
    },
  };
}

/** Where nobody tells: an app that is always looked at. */
export const alwaysInFront: AppStateSource = { current: () => "front", onChange: () => () => {} };
