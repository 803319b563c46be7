/**
 * The yardstick's edge process: a bare `ws` server. Puts each delivery on its user's
 * socket, the writes of one batch corked into one, and hands acks back in batches.
 */
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import type { Duplex } from "node:stream";
import { connect, type NatsConnection } from "@nats-io/transport-node";
import { WebSocket, WebSocketServer } from "ws";
import { serve } from "../harness/worker-process.js";
import {
  ackBytes,
  acksSubject,
  type BareOptions,
  deliveriesSubject,
  deliveryBytes,
  writePair,
} from "./wire.js";

interface Peer {
  readonly ws: WebSocket;
  readonly socket: Duplex;
  isCorked: boolean;
}

const acksMax = 4_096;

class BareEdge {
  private readonly peers = new Map<number, Peer>();
  private readonly acks = Buffer.alloc(acksMax * ackBytes);
  private ackCount = 0;

  constructor(private readonly client: NatsConnection) {}

  adopt(ws: WebSocket, socket: Duplex, user: number): void {
    this.peers.set(user, { ws, socket, isCorked: false });
    ws.on("message", (data: Buffer) => this.onAck(user, data.readUInt32BE(0)));
    ws.on("error", () => undefined);
    ws.on("close", () => this.peers.delete(user));
  }

  onDeliveries(batch: Buffer): void {
    const corked: Peer[] = [];
    for (let at = 0; at < batch.length; at += deliveryBytes) {
      const peer = this.peers.get(batch.readUInt32BE(at));
      if (peer === undefined || peer.ws.readyState !== WebSocket.OPEN) continue;
      if (!peer.isCorked) {
        peer.isCorked = true;
        peer.socket.cork();
        corked.push(peer);
      }
      // The frame: the message's number and its body.
      peer.ws.send(batch.subarray(at + 4, at + deliveryBytes));
    }
    for (const peer of corked) {
      peer.isCorked = false;
      peer.socket.uncork();
    }
  }

  private onAck(user: number, seq: number): void {
    if (this.ackCount === 0) setImmediate(() => this.flushAcks());
    writePair(this.acks, this.ackCount++ * ackBytes, user, seq);
    if (this.ackCount === acksMax) this.flushAcks();
  }

  private flushAcks(): void {
    const count = this.ackCount;
    this.ackCount = 0;
    if (count > 0)
      this.client.publish(acksSubject, Buffer.from(this.acks.subarray(0, count * ackBytes)));
  }
}

serve({
  /** Returns where clients connect. */
  async start({ url, user, password, inboxPrefix }: BareOptions): Promise<string> {
    const client = await connect({ servers: url, user, pass: password, inboxPrefix });
    const edge = new BareEdge(client);
    client.subscribe(deliveriesSubject, {
      callback: (_, { data }) =>
        edge.onDeliveries(Buffer.from(data.buffer, data.byteOffset, data.length)),
    });
    const server = createServer();
    const websockets = new WebSocketServer({
      noServer: true,
      perMessageDeflate: false,
      clientTracking: false,
    });
    server.on("upgrade", (request, socket, head) => {
      const number = Number(request.url?.split("user=")[1]);
      websockets.handleUpgrade(request, socket, head, (ws) => edge.adopt(ws, socket, number));
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", 1_024, resolve));
    await client.flush();
    return `ws://127.0.0.1:${(server.address() as AddressInfo).port}/connect`;
  },
});
