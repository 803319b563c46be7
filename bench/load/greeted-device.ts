/**
 * A device of a server that is compared with: it says who it is by the same token, and is
 * served when the server has answered that. Nothing is pushed to it.
 */
import type { Device, DeviceEvents } from "./device.js";
import { endLine, LeanWebSocket } from "./lean-websocket.js";

/** What follows from what was heard, until the device is served; undefined: nothing yet. */
export type Greeted = { readonly say: string } | "served" | "refused" | undefined;

/** `heard`: undefined when the socket opens. */
export type Greeting = (heard: string | undefined, token: string) => Greeted;

export const greetings = {
  /** The token is the first frame, any frame the answer. */
  token: (heard, token) => (heard === undefined ? { say: token } : "served"),
  /** Engine.IO 4 with Socket.IO 5 on it: open (0), then connect (40), answered 40 or 44. */
  socketio: (heard = "", token) => {
    if (heard.startsWith("0")) return { say: `40${JSON.stringify({ token })}` };
    if (heard.startsWith("44")) return "refused";
    return heard.startsWith("40") ? "served" : undefined;
  },
} satisfies Record<string, Greeting>;

/** Engine.IO's heartbeat. */
const ping = "2";
const pong = "3";

export class GreetedDevice implements Device {
  unacked = 0;
  readonly ready: Promise<void>;
  private readonly socket: LeanWebSocket;

  constructor(url: string, token: string, greeting: Greeting, events: DeviceEvents) {
    let isServed = false;
    const { promise, resolve, reject } = promiseOf();
    this.ready = promise;
    const greet = (heard: string | undefined) => {
      const next = greeting(heard, token);
      if (next === undefined) return;
      if (next === "refused") {
        this.socket.destroy();
      } else if (next === "served") {
        isServed = true;
        resolve();
      } else {
        this.socket.sendText(next.say);
      }
    };
    this.socket = new LeanWebSocket(new URL(url), undefined, {
      onOpen: () => greet(undefined),
      onFrame: (frame) => {
        const heard = frame.toString("utf8");
        if (!isServed) greet(heard);
        else if (heard === ping) this.socket.sendText(pong);
      },
      onClose: (end) => {
        if (isServed) events.onLost(endLine(end));
        else reject(new Error(endLine(end)));
      },
    });
  }

  sendAck(): void {
    throw new Error("nothing is pushed to it");
  }

  close(): void {
    this.socket.destroy();
  }
}

function promiseOf() {
  let resolve: () => void = () => undefined;
  let reject: (error: Error) => void = () => undefined;
  const promise = new Promise<void>((onResolve, onReject) => {
    resolve = onResolve;
    reject = onReject;
  });
  return { promise, resolve, reject };
}
