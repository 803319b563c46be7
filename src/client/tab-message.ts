/** What tabs say to each other. Tabs of another version of the app may listen and speak. */
import { isMap } from "../protocol/codec.js";
import type { Position } from "../protocol/position.js";
import type { AppState } from "./app-state.js";
import type { DeviceState } from "./connection-phase.js";
import type { DeviceMessage } from "./device-message.js";

export type TabMessage =
  // From the tab that is connected.
  | {
      readonly kind: "here";
      readonly tab: string;
      readonly state: DeviceState;
      readonly position?: Position;
    }
  | { readonly kind: "message" | "passing"; readonly message: DeviceMessage }
  /** For the tab that somebody looks at; one of an earlier version named none. */
  | { readonly kind: "tap"; readonly to?: string; readonly message: DeviceMessage }
  | { readonly kind: "recall"; readonly id: string }
  | { readonly kind: "config"; readonly config: unknown }
  | {
      readonly kind: "answer";
      readonly tab: string;
      readonly call: number;
      /** Null: `value` is the answer; else as a CallError has it. */
      readonly error: { code: string; outcome: "not-done" | "unknown" | "refused" } | null;
      readonly value: unknown;
    }
  // From the others.
  | { readonly kind: "tab"; readonly tab: string; readonly app: AppState }
  | { readonly kind: "bye"; readonly tab: string }
  | { readonly kind: "connect" }
  | { readonly kind: "seen" | "opened"; readonly id: string }
  | {
      readonly kind: "call";
      readonly tab: string;
      readonly call: number;
      readonly route: string;
      readonly deadlineMs: number;
      readonly body: unknown;
    };

const version = 1;

export function sealTabMessage(message: TabMessage): unknown {
  return { belfry: version, message };
}

/** Undefined for what somebody else, or another version, said on the channel. */
export function openTabMessage(data: unknown): TabMessage | undefined {
  if (!isMap(data) || data.belfry !== version || !isMap(data.message)) return undefined;
  return data.message as unknown as TabMessage;
}
