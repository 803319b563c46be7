/**
 * Socket.IO as its documentation has it for many connections: WebSockets only, no
 * compression, and the request of a handshake let go of when it is done.
 */
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { Server } from "socket.io";
import { collect } from "../harness/collect.js";
import { serve } from "../harness/worker-process.js";
import { type TokenApp, verifierOf } from "../load/token-check.js";

interface Presence {
  readonly since: number;
  sentSeq: number;
}

const present = new Map<string, Presence>();
const pingIntervalMs = 30_000;

serve({
  /** Returns where clients connect. */
  async start(app: TokenApp): Promise<string> {
    const verify = verifierOf(app);
    const server = createServer();
    const io = new Server(server, {
      transports: ["websocket"],
      serveClient: false,
      pingInterval: pingIntervalMs,
    });
    io.engine.on("connection", (raw: { request: unknown }) => {
      raw.request = null;
    });
    io.use(async (socket, next) => {
      const verified = await verify(String(socket.handshake.auth["token"]));
      next(verified.ok ? undefined : new Error(verified.code));
    });
    io.on("connection", (socket) => {
      present.set(socket.id, { since: Date.now(), sentSeq: 0 });
      socket.on("disconnect", () => present.delete(socket.id));
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", 4_096, resolve));
    const { port } = server.address() as AddressInfo;
    return `ws://127.0.0.1:${port}/socket.io/?EIO=4&transport=websocket`;
  },
  collect,
});
