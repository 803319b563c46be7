/** Sockets that read all they are sent and look at nothing: the other end of a fan-out. */
import { once } from "node:events";
import { connect } from "node:net";
import { serve } from "../harness/worker-process.js";

export interface ReadersOptions {
  readonly port: number;
  readonly count: number;
  readonly isUpgrading: boolean;
}

const upgrade =
  "GET /connect HTTP/1.1\r\nHost: edge\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
  "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
/** One for all: nobody looks into it. */
const buffer = Buffer.alloc(64 * 1024);

serve({
  async open({ port, count, isUpgrading }: ReadersOptions): Promise<void> {
    for (let at = 0; at < count; at++) {
      const socket = connect({
        port,
        host: "127.0.0.1",
        onread: { buffer, callback: () => true },
      });
      socket.on("error", () => process.exit(1));
      await once(socket, "connect");
      if (isUpgrading) socket.write(upgrade);
    }
  },
});
