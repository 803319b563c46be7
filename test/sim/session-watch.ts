/**
 * Lets the checks see what sessions tell edges, also those of the same node, whose
 * messages never cross the bus.
 */
import { Attachments } from "../../actors/attachments.js";
import { Device } from "../../actors/device.js";
import { Session } from "../../actors/session.js";
import type { ToEdge } from "../../src/protocol/messages.js";
import type { SessionKey } from "../../src/protocol/shards.js";
import { patch, together } from "./breakage.js";
import type { SimBus } from "./sim-bus.js";

export interface Told {
  /** The process that the session runs in. */
  readonly by: string;
  readonly key: SessionKey;
  /** Undefined when it serves no device on that connection. */
  readonly device: string | undefined;
  readonly message: ToEdge;
}

/** Returns the way back. */
export function watchSessions(onTold: (told: Told) => void): () => void {
  const { tellEdge } = Session.prototype;
  Session.prototype.tellEdge = function (this: Session, edge, message) {
    const { devices, context } = this as unknown as WatchedSession;
    const connection = "connection" in message ? message.connection : -1;
    const device = devices.find((one) => one.isServedOn({ edge, connection }));
    const by = (context.node.bus as SimBus).name;
    onTold({ by, key: this.sessionKey, device: device?.id, message });
    tellEdge.call(this, edge, message);
  };
  return () => {
    Session.prototype.tellEdge = tellEdge;
  };
}

/** Called before a device's cursor goes over what it never acked. Returns the way back. */
export function watchSettingAside(
  onSetAside: (key: SessionKey, device: string, seq: number) => void,
): () => void {
  let key: SessionKey | undefined;
  return together(
    patch<Attachments["setAsideFirst"]>(
      Attachments.prototype,
      "setAsideFirst",
      (was) =>
        function (this: Attachments, device) {
          key = this["desk"].sessionKey;
          was.call(this, device);
          key = undefined;
        },
    ),
    patch<Device["setAside"]>(
      Device.prototype,
      "setAside",
      (was) =>
        function (this: Device, seq) {
          if (key !== undefined) onSetAside(key, this.id, seq);
          was.call(this, seq);
        },
    ),
  );
}

/** Called when a device, or its edge, asks for something again. Returns the way back. */
export function watchRepeats(onRepeat: (key: SessionKey, device: string) => void): () => void {
  return patch<Attachments["resend"]>(
    Attachments.prototype,
    "resend",
    (was) =>
      function (this: Attachments, resend) {
        const { devices, sessionKey } = this["desk"];
        const device = devices.find((one) => one.isServedOn(resend));
        if (device !== undefined) onRepeat(sessionKey, device.id);
        return was.call(this, resend);
      },
  );
}

interface WatchedSession {
  readonly devices: readonly WatchedDevice[];
  readonly context: { readonly node: { readonly bus: unknown } };
}

interface WatchedDevice {
  readonly id: string;
  isServedOn(ref: { edge: string | undefined; connection: number }): boolean;
}
