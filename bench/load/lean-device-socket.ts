/**
 * The lean WebSocket as the SDK wants one, so that thousands of its devices in one process
 * leave the processor to the platform.
 */
import type { DeviceSocket } from "../../src/client/device-socket.js";
import { LeanWebSocket } from "./lean-websocket.js";

const opening = 0;
const open = 1;
const closed = 3;
/** Of a connection that ended without a close frame. */

export class LeanDeviceSocket implements DeviceSocket {
  binaryType = "arraybuffer";
  readyState: number = opening;
  onopen: DeviceSocket["onopen"] = null;
  onmessage: DeviceSocket["onmessage"] = null;
  onclose: DeviceSocket["onclose"] = null;
  onerror: DeviceSocket["onerror"] = null;
  private readonly socket: LeanWebSocket;

  constructor(url: string, protocols: readonly string[]) {
    this.socket = new LeanWebSocket(new URL(url), protocols[0], {
      onOpen: () => this.onOpen(),
      onFrame: (frame) => this.onmessage?.({ data: Uint8Array.from(frame) }),
      onClose: ({ code, reason }) => this.onEnd(code, reason),
    });
  }

  protected onOpen(): void {
    this.readyState = open;
    this.onopen?.({});
  }

  protected onEnd(code: number, reason: string): void {
    this.readyState = closed;
    this.onclose?.({ code, reason });
  }

  send(data: string | Uint8Array<ArrayBuffer>): void {
    if (typeof data === "string") throw new Error("a lean socket is a binary one");
    this.socket.send(data);
  }

  close(code = 1_000): void {
    this.socket.close(code);
  }
}
