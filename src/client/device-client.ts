/**
 * The SDK for devices: one signed-in user on one installation, in a browser or in
 * Node. It connects, takes each push once and in order, acknowledges what the app
 * took, and comes back by itself. docs/protocol.md is what it speaks.
 *
 *   const device = createDevice({
 *     url: "wss://push.example.com/connect",
 *     getToken: () => session.fetchPushToken(),
 *     onMessage: (message) => show(message.body),
 *   });
 *   device.connect();
 */
import type { Device, DeviceOptions } from "./device-options.js";
import { DeviceSession } from "./device-session.js";

export type { AppState, AppStateSource } from "./app-state.js";
export type { DeviceState } from "./connection-phase.js";
export { DeviceError, type DeviceErrorCode } from "./device-error.js";
export type {
  DeviceEvents,
  DeviceListener,
  MessageHandler,
  Unsubscribe,
} from "./device-events.js";
export type { DeviceMessage } from "./device-message.js";
export type { BindOptions, BoundSession, Device, DeviceOptions } from "./device-options.js";
export type { DeviceSocket, DeviceSocketConstructor } from "./device-socket.js";
export type { DeviceStorage } from "./device-storage.js";
export type { HttpAnswer, HttpFetch } from "./dispatcher.js";
export type { NetworkSource, NetworkType } from "./network-source.js";
export type { Notifier, ShownNotification } from "./notifier.js";
export { CallError, type CallOptions } from "./uplink-calls.js";

/** Throws when no URL or no WebSocket is there to use; connects only by `connect()`. */
export function createDevice(options: DeviceOptions): Device {
  return new DeviceSession(options);
}
