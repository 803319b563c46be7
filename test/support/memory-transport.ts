/** An edge's sockets in memory: what each was sent can be read off. */

import {
  type ConnectionId,
  connectionId,
  type EdgeTransport,
  type ListenAddress,
  type TransportHandlers,
} from "../../src/ports/edge-transport.js";
import { packValue, unpackValue } from "../../src/protocol/codec.js";
import { clientKinds, protocolVersion } from "../../src/protocol/frames.js";

export class MemoryTransport implements EdgeTransport {
  /** Frames by connection, unpacked, in order. */
  readonly sent = new Map<ConnectionId, unknown[][]>();
  readonly closed = new Map<ConnectionId, number>();
  private handlers: TransportHandlers | undefined;
  private opened = 0;

  get connectionCount(): number {
    return this.sent.size - this.closed.size;
  }

  figures(): Readonly<Record<string, number>> {
    return {};
  }

  async listen(handlers: TransportHandlers): Promise<ListenAddress> {
    this.handlers = handlers;
    return { host: "memory", port: 1 };
  }

  refuseWaiting(): number {
    return 0;
  }

  async stopListening(): Promise<void> {
    this.handlers = undefined;
  }

  /** A client that says hello with `token`; the test's token verifier decides whose it is. */
  connect(token: string, device = "phone"): ConnectionId {
    const connection = connectionId(this.opened++, 1);
    this.sent.set(connection, []);
    this.handlers?.onOpen(connection, "belfry.v1");
    const hello = { v: protocolVersion, token, device, connect: 1, start: "all" };
    this.receive(connection, [clientKinds.hello, hello]);
    return connection;
  }

  receive(connection: ConnectionId, frame: unknown[]): void {
    this.handlers?.onMessage(connection, packValue(frame), false);
  }

  send(connection: ConnectionId, frame: Uint8Array): void {
    this.sent.get(connection)?.push(unpackValue(frame) as unknown[]);
  }

  sendToMany(connections: readonly ConnectionId[], frame: Uint8Array): void {
    for (const connection of connections) this.send(connection, frame);
  }

  bufferedBytes(): number {
    return 0;
  }

  unfinishedBytes(): number {
    return 0;
  }

  close(connection: ConnectionId, code: number): void {
    if (this.closed.has(connection)) return;
    this.closed.set(connection, code);
    this.handlers?.onClose(connection, code);
  }
}
