/**
 * The WebSocket of the package `ws` as the SDK wants it in Node: a handshake that was
 * refused tells for how long (`Retry-After`), which no browser does.
 *
 *   createDevice({ socket: wsSocket(WebSocket), … })
 */
import { retryAfterMs } from "../base/retry-after.js";
import type { DeviceSocket, DeviceSocketConstructor } from "./device-socket.js";
import { platformClock } from "./platform.js";

/** What of `ws` this needs; the package itself is the app's to bring. */
interface WsLike extends DeviceSocket {
  on(
    event: "unexpected-response",
    listener: (request: { destroy(): void }, response: RefusedUpgrade) => void,
  ): unknown;
}

interface RefusedUpgrade {
  readonly statusCode?: number;
  readonly headers: { readonly "retry-after"?: string };
}

export function wsSocket(
  WebSocket: new (url: string, protocols: string[]) => WsLike,
): DeviceSocketConstructor {
  return class WsSocket extends WebSocket {
    constructor(url: string, protocols: string[]) {
      super(url, protocols);
      // With a listener for it `ws` leaves the request, and the end, to whoever listens.
      this.on("unexpected-response", (request, { statusCode, headers }) => {
        request.destroy();
        const waitMs = retryAfterMs(headers["retry-after"], platformClock.wallMs());
        const reason = `refused with HTTP ${statusCode}`;
        this.onclose?.({ code: 1006, reason, retryAfterMs: waitMs });
      });
    }
  };
}
