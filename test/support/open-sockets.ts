/** What a test of sockets opened, to be closed after it whatever became of it. */
import type { Server } from "node:http";
import type { Socket } from "node:net";

/** Empties both lists. */
export function closeAll(peers: Socket[], servers: Server[]): void {
  for (const peer of peers.splice(0)) peer.destroy();
  for (const server of servers.splice(0)) {
    server.closeAllConnections();
    server.close();
  }
}
