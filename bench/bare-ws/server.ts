/**
 * What a connection costs at the least with `ws`: a server that does the handshake, checks
 * a token where it is told to, and keeps a record of who is there.
 */
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { type WebSocket, WebSocketServer } from "ws";
import { collect } from "../harness/collect.js";
import { serve } from "../harness/worker-process.js";
import { type TokenApp, verifierOf } from "../load/token-check.js";

interface Presence {
  readonly user: string;
  readonly since: number;
  sentSeq: number;
}

const present = new Map<WebSocket, Presence>();

function enter(ws: WebSocket, user: string): void {
  present.set(ws, { user, since: Date.now(), sentSeq: 0 });
  ws.on("message", ignore);
}

function onClose(this: WebSocket): void {
  present.delete(this);
}

function ignore(): void {
  // Nothing is expected of an idle client, and an error is followed by close.
}

serve({
  /** Returns where clients connect; of an app, each says a token first, and is answered. */
  async start(app: TokenApp | null): Promise<string> {
    const verify = app === null ? undefined : verifierOf(app);
    const server = createServer();
    const websockets = new WebSocketServer({
      noServer: true,
      perMessageDeflate: false,
      clientTracking: false,
    });
    server.on("upgrade", (request, socket, head) => {
      websockets.handleUpgrade(request, socket, head, (ws) => {
        const user = request.url?.split("user=")[1] ?? "";
        ws.on("close", onClose);
        ws.on("error", ignore);
        if (verify === undefined) {
          enter(ws, user);
          return;
        }
        ws.once("message", async (token) => {
          const verified = await verify(String(token));
          if (!verified.ok) {
            ws.close(4_401);
            return;
          }
          enter(ws, verified.value.sub);
          ws.send("welcome");
        });
      });
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", 4_096, resolve));
    return `ws://127.0.0.1:${(server.address() as AddressInfo).port}/connect`;
  },
  collect,
});
