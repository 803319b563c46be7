/** What an app gives the SDK for devices, and what it gets back. */
import type { Clock } from "../base/clock.js";
import type { Random } from "../base/random.js";
import type { Start } from "../protocol/frames.js";
import type { Position } from "../protocol/position.js";
import type { AckLimits } from "./ack-batcher.js";
import type { AppStateSource } from "./app-state.js";
import type { BackoffLimits } from "./backoff.js";
import type { DeviceState } from "./connection-phase.js";
import type { DeviceError } from "./device-error.js";
import type { DeviceEvents, DeviceListener, MessageHandler, Unsubscribe } from "./device-events.js";
import type { DeviceMessage } from "./device-message.js";
import type { DeviceSocketConstructor } from "./device-socket.js";
import type { DeviceStorage } from "./device-storage.js";
import type { HttpFetch } from "./dispatcher.js";
import type { HeartbeatLimits } from "./heartbeat-plan.js";
import type { NetworkSource } from "./network-source.js";
import type { Notifier } from "./notifier.js";
import type { CallOptions } from "./uplink-calls.js";

export interface DeviceOptions {
  /**
   * Where edges listen, `ws://` or `wss://`. Of several each user has an order of its own,
   * the one that worked last comes first, and each failed attempt takes the next.
   */
  readonly url?: string;
  readonly urls?: readonly string[];
  /**
   * Where to ask for edges, `https://` or `http://`; `urls` are then for when it cannot be
   * asked. Its answers are kept for each type of network, over a reload.
   */
  readonly dispatcher?: string;
  /**
   * A token that is good now; asked before every connect, and when the edge says that
   * one is about to expire. No answer within 30 s counts as a failure and is retried.
   */
  readonly getToken: () => Promise<string>;
  /**
   * Names the app, where its tokens are no JWTs that do: it has a connect webhook, and a token
   * is whatever that one takes.
   */
  readonly app?: string;
  /**
   * Whose such tokens are, as the webhook says it (`sub`): by it what is stored is found again
   * after a reload. Another user is another device: make a new one.
   */
  readonly user?: string;
  /**
   * Takes one message; the next comes when this one returned or its promise resolved,
   * and only then is it acknowledged. When it throws or rejects, the message and all
   * behind it stay unacknowledged: the device reconnects after a backoff and gets them
   * again in order, until the platform sets the message aside.
   */
  readonly onMessage: (message: DeviceMessage) => void | Promise<void>;
  /** Takes an at-most-once message (QoS 0): no position, no ack, no second delivery. */
  readonly onPassing?: (message: DeviceMessage) => void;
  /**
   * The service took this message back: remove it from what is shown. One that the app was
   * not given yet it will not be given; one that it took while away is not told of.
   */
  readonly onRecall?: (id: string) => void;
  /**
   * Somebody tapped on the notification of this message, which was shown while the app was in
   * the background; `onMessage` has taken it just before.
   */
  readonly onTap?: (message: DeviceMessage) => void;
  /** An edge says that something which the app follows has changed. */
  readonly onConfig?: (config: unknown) => void;
  readonly onState?: (state: DeviceState) => void;
  /** What went wrong and was dealt with; for logs. */
  readonly onError?: (error: DeviceError) => void;
  /** Names this installation, 1 to 64 bytes; made once and stored unless given. */
  readonly device?: string;
  /** What it runs on, such as `ios` or `web`, 1 to 64 bytes; pushes may target it. */
  readonly platform?: string;
  /** Where a device that was never seen starts: with what comes (default), all, or the last n. */
  readonly start?: Start;
  /** Default: localStorage where there is one, else memory, which a restart forgets. */
  readonly storage?: DeviceStorage;
  /** Stands before each key in the storage (`device`, `position`, `held` and a few more). */
  readonly storagePrefix?: string;
  /** Default: the global WebSocket. Node 20 has none: pass the one of the package `ws`. */
  readonly socket?: DeviceSocketConstructor;
  /** Default: what a browser's window tells, elsewhere one network that is always there. */
  readonly network?: NetworkSource;
  /** Default: the visibility of a browser's document, elsewhere always in front. */
  readonly appState?: AppStateSource;
  /**
   * Shows messages of kind `notification` while the app is in the background. Default: the
   * page's service worker where there is one and the person allowed it, else nothing is shown
   * and the app gets them at once, as with `false`.
   */
  readonly notifier?: Notifier | false;
  /** How far apart heartbeats may be; default 15 s to 4 min, and 1 min while in front. */
  readonly heartbeat?: Partial<HeartbeatLimits>;
  /** Default: the global one. */
  readonly fetch?: HttpFetch;
  /** Binary by default; the JSON form is for looking at it. */
  readonly protocol?: "belfry.v1" | "belfry.v1.json";
  /**
   * Default: after 32 messages, or 50 ms after the first. More than 64 messages are above the
   * edge's window, which then waits for the delay; what is later than 30 s is sent again.
   */
  readonly acks?: Partial<AckLimits>;
  /** Default: the first wait is in [0, 500 ms), doubling to at most 30 s. */
  readonly backoff?: Partial<BackoffLimits>;
  readonly clock?: Clock;
  readonly random?: Random;
}

/** A further user, of the same app or another; each as in DeviceOptions, for that user. */
export type BindOptions = Pick<
  DeviceOptions,
  | "getToken"
  | "app"
  | "user"
  | "onMessage"
  | "onPassing"
  | "onRecall"
  | "onTap"
  | "onState"
  | "onError"
  | "device"
  | "platform"
  | "start"
>;

/** What `bind` gives: another user's session on the device's connection. */
export interface BoundSession {
  /** Acknowledges what was taken, and ends it for good; the connection goes on. */
  unbind(): void;
  on<Name extends keyof DeviceEvents>(name: Name, listener: DeviceListener<Name>): Unsubscribe;
  onType(type: string, handler: MessageHandler): Unsubscribe;
  call(route: string, body: unknown, options?: CallOptions): Promise<unknown>;
  /** A person opened the message with this MsgID, as the device's. */
  opened(id: string): void;
  /**
   * `connecting` also while there is no connection, and while the edge binds none; `stopped`,
   * with the device's code, where the device is stopped and no connection is left.
   */
  readonly state: DeviceState;
  /** Undefined before its first attach in this process, whatever is stored. */
  readonly position: Position | undefined;
}

export interface Device {
  /**
   * Connects now, from every state that does not already; returns at once. No sooner than a
   * server asked for, and when called more often than a person would, by the backoff.
   */
  connect(): void;
  /**
   * Acknowledges what was taken, ends the connection and stays away until `connect()`; so does
   * who is bound.
   */
  close(): void;
  /**
   * For what also comes by another way, such as a vendor's push: true the first time that
   * this MsgID is seen on either; from then on it counts as taken. The last 4,096 are known,
   * the last 256 over a reload: at once where the storage answers at once, else from the
   * first attach on.
   */
  isNew(id: string): boolean;
  /** Listens besides the options' own handlers, until the returned function is called. */
  on<Name extends keyof DeviceEvents>(name: Name, listener: DeviceListener<Name>): Unsubscribe;
  /**
   * Messages of this type (`head.type`) go to `handler` in the place of `onMessage`, and to
   * all that were given for it; what holds for `onMessage` holds for each.
   */
  onType(type: string, handler: MessageHandler): Unsubscribe;
  /**
   * Calls a service (`uplink.<app>.<route>`) and resolves to its answer. Waits for a connection
   * where there is none; rejects with a CallError by the deadline at the latest.
   */
  call(route: string, body: unknown, options?: CallOptions): Promise<unknown>;
  /**
   * Binds a further user to this device's connection, while there is one and with each new
   * one; what ends the one session does not end the others. An edge takes seven beside the
   * device's own. Throws where 15 are bound already.
   */
  bind(options: BindOptions): BoundSession;
  /**
   * A person opened the message with this MsgID: services get the receipt `opened`. A tap on
   * one that the SDK showed is told by itself. Once each, at most once: nothing confirms it.
   */
  opened(id: string): void;
  readonly state: DeviceState;
  /** The last position that the app took; undefined before the first attach. */
  readonly position: Position | undefined;
}
