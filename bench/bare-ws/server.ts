/**
 * What an idle connection costs at the least with `ws`: a server that does the
 * handshake and keeps a record of who is there.
 */
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { type WebSocket, WebSocketServer } from "ws";
import { collect } from "../harness/collect.js";
import { serve } from "../harness/worker-process.js";

interface Presence {
  readonly user: string;
  readonly since: number;
  sentSeq: number;
}

const present = new Map<WebSocket, Presence>();

function onClose(this: WebSocket): void {
  present.delete(this);
}

function ignore(): void {
  // Nothing is expected of an idle client, and an error is followed by close.
}

serve({
  /** Returns where clients connect. */
  async start(): Promise<string> {
    const server = createServer();
    const websockets = new WebSocketServer({
      noServer: true,
      perMessageDeflate: false,
      clientTracking: false,
    });
    server.on("upgrade", (request, socket, head) => {
      websockets.handleUpgrade(request, socket, head, (ws) => {
        const user = request.url?.split("user=")[1] ?? "";
        present.set(ws, { user, since: Date.now(), sentSeq: 0 });
        ws.on("message", ignore);
        ws.on("close", onClose);
        ws.on("error", ignore);
      });
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", 4_096, resolve));
    return `ws://127.0.0.1:${(server.address() as AddressInfo).port}/connect`;
  },
  collect,
});
