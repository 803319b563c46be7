/**
 * The edge's sockets over `ws`, on an HTTP server that others share: the contract's second
 * opinion (test/contract/edge-transport.ts), by a library that many others trust.
 *
 *   upgrade ──┬─ refused, here or by ws ──────────────── closeDeadlineMs ─▶ gone
 *             └─ adopted (onOpen) ─┬─ close ──────────── closeDeadlineMs ─▶ gone (onClose)
 *                                  └─ FIN, writes stuck ─ closeDeadlineMs ─▶ gone (onClose)
 *
 * From the upgrade on a socket is the edge's: the HTTP server's own deadlines, which
 * bound the time before, know nothing of it any more.
 *
 * All handlers are shared functions that find their connection by the socket, so
 * an idle connection holds no closure of ours. Writes of one loop turn are corked
 * into one.
 */
import { type IncomingMessage, type Server, STATUS_CODES } from "node:http";
import { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { type RawData, type WebSocket, WebSocketServer } from "ws";
import {
  type ConnectionId,
  connectionId,
  type EdgeTransport,
  type HandshakeRefusal,
  type HandshakeTurn,
  isTurn,
  type ListenAddress,
  type Subprotocol,
  slotOf,
  slotsMax,
  type TransportHandlers,
} from "../../src/ports/edge-transport.js";

export interface WsEdgeOptions {
  readonly server: Server;
  /** Only upgrades of this path are taken. */
  readonly path: string;
  /** What was refused, closed, or left by its peer is gone so long after. */
  readonly closeDeadlineMs: number;
}

/** Above the protocol's own bound, so that a frame too large gets its documented code. */
const payloadBytesMax = 1024 * 1024;
/** Targets have a path alone; the host that they would be of says nothing here. */
const base = "http://edge";
const protocols: readonly Subprotocol[] = ["belfry.v1", "belfry.v1.json"];
const notListening: HandshakeRefusal = {
  status: 503,
  reason: "the edge takes no connections now",
  retryAfterSeconds: 1,
};

interface Waiting {
  readonly turn: HandshakeTurn;
  readonly timer: NodeJS.Timeout;
}

interface Peer {
  readonly ws: WebSocket;
  readonly socket: Duplex;
  readonly id: ConnectionId;
  isCorked: boolean;
  isAwaitingDrain: boolean;
  isClosing: boolean;
  /** When its last message was whole, so many bytes had come. */
  wholeBytes: number;
}

export class WsEdge implements EdgeTransport {
  private readonly peers: (Peer | undefined)[] = [];
  private readonly generations: number[] = [];
  private readonly freeSlots: number[] = [];
  private readonly bySocket = new WeakMap<WebSocket, Peer>();
  private readonly websockets: WebSocketServer;
  private readonly line = new Map<Duplex, Waiting>();
  private corked: Peer[] = [];
  private handlers: TransportHandlers | undefined;
  private isListening = false;
  private count = 0;

  constructor(private readonly options: WsEdgeOptions) {
    this.websockets = new WebSocketServer({
      noServer: true,
      perMessageDeflate: false,
      maxPayload: payloadBytesMax,
      clientTracking: false,
      // Without a subprotocol a client is taken to speak the binary one.
      handleProtocols: (offered) => protocols.find((name) => offered.has(name)) ?? false,
    });
    // Also while nobody listens: without a listener the server takes an upgrade for a request.
    options.server.on("upgrade", this.onUpgrade);
  }

  get connectionCount(): number {
    return this.count;
  }

  figures(): Readonly<Record<string, number>> {
    return {};
  }

  async listen(handlers: TransportHandlers): Promise<ListenAddress> {
    this.handlers = handlers;
    this.isListening = true;
    const address = this.options.server.address();
    if (address === null || typeof address === "string") return { host: "", port: 0 };
    return { host: address.address, port: address.port };
  }

  async stopListening(): Promise<void> {
    this.isListening = false;
    this.refuseWaiting(notListening, this.line.size);
  }

  refuseWaiting(refusal: HandshakeRefusal, countMax: number): number {
    const first = [...this.line.keys()].slice(0, countMax);
    for (const socket of first) {
      this.leaveLine(socket);
      this.refuse(socket, refusal);
    }
    return first.length;
  }

  send(connection: ConnectionId, frame: Uint8Array, isText: boolean): void {
    const peer = this.peerOf(connection);
    if (peer === undefined || peer.isClosing) return;
    if (!peer.isCorked) {
      peer.isCorked = true;
      peer.socket.cork();
      if (this.corked.push(peer) === 1) setImmediate(this.uncorkAll);
    }
    peer.ws.send(frame, { binary: !isText });
    if (peer.socket.writableNeedDrain) this.awaitDrain(peer);
  }

  sendToMany(connections: readonly ConnectionId[], frame: Uint8Array, isText: boolean): void {
    for (const connection of connections) this.send(connection, frame, isText);
  }

  private awaitDrain(peer: Peer): void {
    if (peer.isAwaitingDrain) return;
    peer.isAwaitingDrain = true;
    peer.socket.once("drain", () => {
      peer.isAwaitingDrain = false;
      if (!peer.isClosing) this.handlers?.onDrain?.(peer.id);
    });
  }

  bufferedBytes(connection: ConnectionId): number {
    return this.peerOf(connection)?.ws.bufferedAmount ?? 0;
  }

  /** What came in one piece with a message's end is not known to be of the next one. */
  unfinishedBytes(connection: ConnectionId): number {
    const peer = this.peerOf(connection);
    return peer === undefined ? 0 : bytesRead(peer.socket) - peer.wholeBytes;
  }

  close(connection: ConnectionId, code: number, reason: string): void {
    const peer = this.peerOf(connection);
    if (peer === undefined || peer.isClosing) return;
    peer.isClosing = true;
    peer.ws.close(code, reason);
    setTimeout(() => peer.ws.terminate(), this.options.closeDeadlineMs).unref();
  }

  private readonly uncorkAll = (): void => {
    const { corked } = this;
    this.corked = [];
    for (const peer of corked) {
      peer.isCorked = false;
      peer.socket.uncork();
    }
  };

  private readonly onUpgrade = (request: IncomingMessage, socket: Duplex, head: Buffer): void => {
    // Until ws takes over, an error on the socket would be an uncaught one.
    socket.on("error", ignoreError);
    const answer = this.answerTo(request);
    if (answer === undefined) this.accept(request, socket, head);
    else if (isTurn(answer)) this.wait(request, socket, head, answer);
    else this.refuse(socket, answer);
  };

  private wait(request: IncomingMessage, socket: Duplex, head: Buffer, turn: HandshakeTurn): void {
    const onTurn = () => {
      if (!this.line.delete(socket)) return;
      socket.off("close", onGone).off("end", onGone).off("data", onData);
      const refusal = turn.take();
      if (refusal === undefined) this.accept(request, socket, Buffer.concat(early));
      else this.refuse(socket, refusal);
    };
    const early = [head];
    const onData = (bytes: Buffer) => void early.push(bytes);
    const onGone = () => {
      this.leaveLine(socket);
      socket.end();
      this.destroyByDeadline(socket);
    };
    this.line.set(socket, { turn, timer: setTimeout(onTurn, turn.waitMs) });
    // It is read on, else nobody would hear that it goes.
    socket.once("close", onGone).once("end", onGone).on("data", onData);
  }

  private leaveLine(socket: Duplex): void {
    const waiting = this.line.get(socket);
    if (waiting === undefined) return;
    this.line.delete(socket);
    clearTimeout(waiting.timer);
    waiting.turn.leave();
  }

  private refuse(socket: Duplex, refusal: HandshakeRefusal): void {
    refuse(socket, refusal);
    this.destroyByDeadline(socket);
  }

  private accept(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    let isAdopted = false;
    this.websockets.handleUpgrade(request, socket, head, (ws) => {
      isAdopted = true;
      this.adopt(ws, socket);
    });
    // A peer that reads nothing and closes nothing would keep it for ever.
    if (!isAdopted) this.destroyByDeadline(socket);
  }

  private answerTo(request: IncomingMessage): HandshakeRefusal | HandshakeTurn | undefined {
    const target = request.url ?? "";
    if (!URL.canParse(target, base)) return { status: 400, reason: "the target is no URL" };
    if (new URL(target, base).pathname !== this.options.path) {
      return { status: 404, reason: "no such path" };
    }
    if (this.handlers === undefined || !this.isListening) return notListening;
    const { origin, "x-forwarded-for": forwardedFor } = request.headers;
    return this.handlers.onUpgrade({
      remoteAddress: request.socket.remoteAddress ?? "",
      origin,
      forwardedFor: forwardedFor?.toString(),
    });
  }

  private destroyByDeadline(socket: Duplex): void {
    setTimeout(() => socket.destroy(), this.options.closeDeadlineMs).unref();
  }

  private adopt(ws: WebSocket, socket: Duplex): void {
    socket.off("error", ignoreError);
    const slot = this.freeSlots.pop() ?? this.peers.length;
    if (slot >= slotsMax) {
      ws.terminate();
      return;
    }
    const generation = ((this.generations[slot] ?? 0) + 1) % 2 ** 30;
    this.generations[slot] = generation;
    const id = connectionId(slot, generation);
    const peer: Peer = {
      ws,
      socket,
      id,
      isCorked: false,
      isAwaitingDrain: false,
      isClosing: false,
      wholeBytes: bytesRead(socket),
    };
    this.peers[slot] = peer;
    this.bySocket.set(ws, peer);
    this.count++;
    ws.on("message", this.onMessage);
    ws.on("close", this.onClose);
    ws.on("error", ignoreError);
    socket.on("end", this.onEnd);
    this.handlers?.onOpen(id, ws.protocol === "belfry.v1.json" ? "belfry.v1.json" : "belfry.v1");
  }

  private readonly onMessage = (() => {
    const edge = this;
    return function (this: WebSocket, data: RawData, isBinary: boolean): void {
      const peer = edge.bySocket.get(this);
      if (peer === undefined || peer.isClosing) return;
      peer.wholeBytes = bytesRead(peer.socket);
      edge.handlers?.onMessage(peer.id, data as Buffer, !isBinary);
    };
  })();

  private readonly onClose = (() => {
    const edge = this;
    return function (this: WebSocket, code: number): void {
      const peer = edge.bySocket.get(this);
      if (peer !== undefined) edge.forget(peer, code);
    };
  })();

  /** The peer's FIN: ws has ended the socket, which ends only once all is written. */
  private readonly onEnd = (() => {
    const edge = this;
    return function (this: Duplex): void {
      if (this.writableLength > 0) edge.destroyByDeadline(this);
    };
  })();

  private forget(peer: Peer, code: number): void {
    const slot = slotOf(peer.id);
    if (this.peers[slot] !== peer) return;
    this.peers[slot] = undefined;
    this.freeSlots.push(slot);
    this.count--;
    this.handlers?.onClose(peer.id, code);
  }

  private peerOf(connection: ConnectionId): Peer | undefined {
    const peer = this.peers[slotOf(connection)];
    return peer?.id === connection ? peer : undefined;
  }
}

function bytesRead(socket: Duplex): number {
  return socket instanceof Socket ? socket.bytesRead : 0;
}

function ignoreError(): void {
  // The close event follows and says all that matters.
}

function refuse(socket: Duplex, refusal: HandshakeRefusal): void {
  const { status, reason, retryAfterSeconds } = refusal;
  const lines = [
    `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? "Refused"}`,
    ...(retryAfterSeconds === undefined ? [] : [`Retry-After: ${retryAfterSeconds}`]),
    "Connection: close",
    "Content-Type: text/plain",
    `Content-Length: ${Buffer.byteLength(reason)}`,
  ];
  // At once when all is written: the server's sockets outlive their peer's silence.
  socket.once("finish", () => socket.destroy());
  socket.end(`${lines.join("\r\n")}\r\n\r\n${reason}`);
}
