/** A device of the bare pipeline: a frame is a number and the body, an ack the number. */
import { bodyOf } from "./body.js";
import type { Device, DeviceEvents } from "./device.js";
import { endLine, LeanWebSocket } from "./lean-websocket.js";

export class BareDevice implements Device {
  unacked = 0;
  readonly ready: Promise<void>;
  private readonly socket: LeanWebSocket;
  private seq = 0;

  constructor(url: string, user: number, events: DeviceEvents) {
    let isReady = false;
    let socket: LeanWebSocket | undefined;
    this.ready = new Promise((resolve, reject) => {
      socket = new LeanWebSocket(new URL(`${url}?user=${user}`), undefined, {
        onOpen: () => {
          isReady = true;
          resolve();
        },
        onFrame: (frame) => {
          this.seq = frame.readUInt32BE(0);
          events.onMessage(this, bodyOf(frame));
        },
        onClose: (end) => {
          if (isReady) events.onLost(endLine(end));
          else reject(new Error(endLine(end)));
        },
      });
    });
    this.socket = socket as unknown as LeanWebSocket;
  }

  sendAck(): void {
    const ack = Buffer.allocUnsafe(4);
    ack.writeUInt32BE(this.seq, 0);
    this.socket.send(ack);
  }

  close(): void {
    this.socket.destroy();
  }
}
