/** The device of the tab that leads: what it is given, the other tabs hear as well. */
import { closeCodes } from "../protocol/close-codes.js";
import type { AppHandlers } from "./app-handlers.js";
import type { AppStateSource } from "./app-state.js";
import type { DeviceState } from "./connection-phase.js";
import { createDevice } from "./device-client.js";
import type { DeviceMessage } from "./device-message.js";
import type { Device, DeviceOptions } from "./device-options.js";
import { platformClock } from "./platform.js";
import type { TabMessage } from "./tab-message.js";

export interface RelayContext {
  /** Of all tabs together. */
  readonly appState: AppStateSource;
  /** This tab's own. */
  readonly app: AppHandlers;
  readonly say: (message: TabMessage) => void;
  readonly take: (message: DeviceMessage) => void | Promise<void>;
  readonly onTap: (message: DeviceMessage) => void;
  readonly onState: (state: DeviceState) => void;
}

/** A tab that took the lock may have connected before this one hears of the theft. */
const theftToldWithinMs = 1_000;

export function relayingDevice(
  options: DeviceOptions,
  { appState, app, say, take, onTap, onState }: RelayContext,
): Device {
  const clock = options.clock ?? platformClock;
  let cancelReplaced = (): void => {};
  return createDevice({
    ...options,
    appState,
    onMessage: (message) => {
      // The others first: a slow handler here does not hold them up.
      say({ kind: "message", message });
      return take(message);
    },
    onPassing: (message) => {
      say({ kind: "passing", message });
      app.tell("passing", message);
    },
    onTap,
    onRecall: (id) => {
      say({ kind: "recall", id });
      app.tell("recall", id);
    },
    onConfig: (config) => {
      say({ kind: "config", config });
      app.tell("config", config);
    },
    onState: (state) => {
      cancelReplaced();
      const isReplaced = state.name === "stopped" && state.code === closeCodes.REPLACED.code;
      if (isReplaced) cancelReplaced = clock.after(theftToldWithinMs, () => onState(state));
      else onState(state);
    },
    onError: (error) => app.tell("error", error),
  });
}
