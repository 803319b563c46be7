/** Peers that ask for an upgrade, say no hello, and come again at once whenever they are out. */
import { connect, type Socket } from "node:net";

const upgrade =
  "GET /connect HTTP/1.1\r\nHost: edge\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
  "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
const againAfterMs = 250;

export class RudeCrowd implements Disposable {
  private readonly sockets = new Set<Socket>();
  private isOver = false;
  /** By the status of what they were answered; 0 where the socket ended without any. */
  readonly answered = new Map<number, number>();

  constructor(
    private readonly port: number,
    count: number,
  ) {
    for (let at = 0; at < count; at++) this.come();
  }

  leave(): void {
    this.isOver = true;
    for (const socket of this.sockets) socket.destroy();
  }

  [Symbol.dispose](): void {
    this.leave();
  }

  private come(): void {
    if (this.isOver) return;
    const socket = connect({ port: this.port, host: "127.0.0.1" });
    this.sockets.add(socket);
    let status = 0;
    socket.on("error", () => undefined);
    socket.once("data", (chunk: Buffer) => {
      status = Number(/^HTTP\/1\.1 (\d+)/.exec(chunk.toString("latin1"))?.[1] ?? 0);
    });
    socket.once("close", () => {
      this.sockets.delete(socket);
      this.answered.set(status, (this.answered.get(status) ?? 0) + 1);
      setTimeout(() => this.come(), againAfterMs);
    });
    socket.write(upgrade);
  }
}
