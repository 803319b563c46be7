/** What an app can listen to. */
import type { DeviceState } from "./connection-phase.js";
import type { DeviceError } from "./device-error.js";
import type { DeviceMessage } from "./device-message.js";

/** What listeners are given, by the name of what happened. */
export interface DeviceEvents {
  readonly state: DeviceState;
  /** An at-most-once message. */
  readonly passing: DeviceMessage;
  /** The MsgID of a message that was taken back. */
  readonly recall: string;
  /** Somebody tapped on the notification of this message. */
  readonly tap: DeviceMessage;
  /** An edge says that something which the app follows has changed. */
  readonly config: unknown;
  readonly error: DeviceError;
}

export type DeviceListener<Name extends keyof DeviceEvents> = (value: DeviceEvents[Name]) => void;
export type MessageHandler = (message: DeviceMessage) => void | Promise<void>;
export type Unsubscribe = () => void;
