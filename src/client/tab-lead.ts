/**
 * A tab that leads: it has the device, and the others have it through this one. They hear what
 * it brings, and what they ask it does.
 */
import type { Clock } from "../base/clock.js";
import type { AppHandlers } from "./app-handlers.js";
import type { AppStateSource } from "./app-state.js";
import type { DeviceState } from "./connection-phase.js";
import type { DeviceMessage } from "./device-message.js";
import type { Device, DeviceOptions } from "./device-options.js";
import { MergedAppState } from "./merged-app-state.js";
import { relayingDevice } from "./relaying-device.js";
import type { TabCalls } from "./tab-calls.js";
import type { TabInbox } from "./tab-inbox.js";
import type { TabMessage } from "./tab-message.js";

export interface LeadParts {
  readonly tab: string;
  readonly clock: Clock;
  /** This tab's own. */
  readonly appState: AppStateSource;
  readonly app: AppHandlers;
  readonly inbox: TabInbox;
  readonly calls: TabCalls;
  readonly say: (message: TabMessage) => void;
  readonly onState: (state: DeviceState) => void;
}

/** What a tab said of itself is believed so long. */
const tabHoldsMs = 35_000;
/** A tap on a notification brings a tab to the front, which says so within this time. */
const frontWithinMs = 1_000;

export class TabLead {
  readonly device: Device;
  private readonly front: MergedAppState;

  /** Throws as `createDevice` does; connects only by `device.connect()`. */
  constructor(
    options: DeviceOptions,
    private readonly parts: LeadParts,
  ) {
    const { clock, appState, app, inbox, say, onState } = parts;
    this.front = new MergedAppState(clock, appState, tabHoldsMs);
    this.device = relayingDevice(options, {
      ...{ appState: this.front, app, say, onState },
      take: (message) => inbox.onReceived(message),
      onTap: (message) => this.front.whenFront(frontWithinMs, (to) => this.giveTap(message, to)),
    });
  }

  /** What another tab says to the one that leads. */
  onTabMessage(message: TabMessage): void {
    const { device, front } = this;
    switch (message.kind) {
      case "tab":
        front.note(message.tab, message.app);
        this.sayHere();
        return;
      case "bye":
        front.note(message.tab, "background");
        return;
      case "connect":
        device.connect();
        return;
      case "seen":
        device.isNew(message.id);
        return;
      case "call":
        void this.parts.calls.serve(device, message);
        return;
      case "opened":
        device.opened(message.id);
        return;
      default:
        return;
    }
  }

  sayHere(): void {
    const { state, position } = this.device;
    const { tab, say } = this.parts;
    say({ kind: "here", tab, state, ...(position === undefined ? {} : { position }) });
  }

  /** No other tab is heard any more. */
  deafen(): void {
    this.front.close();
  }

  /** One tab alone leads the person to the message. */
  private giveTap(message: DeviceMessage, to: string | undefined): void {
    const { app, say } = this.parts;
    if (to === undefined) app.tell("tap", message);
    else say({ kind: "tap", to, message });
  }
}
