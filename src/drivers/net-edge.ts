/**
 * The edge's sockets straight on Node's, with its own reading of upgrades and frames.
 *
 *   accepted ─┬─ no upgrade ────────────────────────▶ the HTTP server's, from its first byte on
 *             ├─ head incomplete ── handshakeDeadlineMs ─▶ gone (HTTP's, TLS's own, too)
 *             ├─ in line (its turn says how long) ─▶ refused or adopted
 *             ├─ refused ───────────── closeDeadlineMs ─▶ gone
 *             └─ adopted (onOpen) ─┬─ close ────────── closeDeadlineMs ─▶ gone (onClose)
 *                                  └─ FIN, their close ─ closeDeadlineMs ─▶ gone (onClose)
 *
 * All handlers are shared functions that find their peer by the socket, so an idle
 * connection holds no closure of ours. Frames of one loop turn leave as one write.
 */
import type { IncomingMessage, Server } from "node:http";
import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { Server as TlsServer } from "node:tls";
import { assert } from "../base/assert.js";
import {
  type ConnectionId,
  connectionId,
  type EdgeTransport,
  type HandshakeRefusal,
  type HandshakeTurn,
  isTurn,
  type ListenAddress,
  slotOf,
  slotsMax,
  type TransportHandlers,
} from "../ports/edge-transport.js";
import { GrownBytes } from "./grown-bytes.js";
import { Handshakes } from "./handshakes.js";
import { HeldBytes } from "./held-bytes.js";
import {
  type Acceptance,
  acceptanceOf,
  findHead,
  headersOf,
  noRoom,
  notListening,
  type Refusal,
  type RequestHead,
  refusalAnswer,
  refusalOf,
} from "./http-upgrade.js";
import {
  askingDeadlineMsDefault,
  framesRateDefault,
  handshakeDeadlineMsDefault,
  heldBytesMaxDefault,
  type NetEdgeOptions,
  unsentBytesMaxDefault,
} from "./net-edge-options.js";
import { Peer, type PeerOwner } from "./net-peer.js";
import { ReadPace } from "./read-pace.js";
import { SocketDeadlines } from "./socket-deadlines.js";
import { UnsentBytes } from "./unsent-bytes.js";
import { WaitingLine } from "./waiting-line.js";
import {
  encodeClose,
  encodeFrame,
  encodeHead,
  opcodes,
  type ReadBounds,
  type Violation,
} from "./ws-frames.js";

/** Above the protocol's own bound, so that a frame too large gets its documented code. */
const messageBytesMax = 1024 * 1024;
/** A frame above this goes out beside its head and not in a copy. */
const copiedBytesMax = 16 * 1024;
/** A peer that pings and does not read is not answered above this. */
const pongsBytesMax = 64 * 1024;
/** What a peer may send before its handshake is answered; none has a reason to. */
const earlyBytesMax = 4 * 1024;
type ConnectionListener = (this: Server, socket: Socket) => void;

export class NetEdge implements EdgeTransport, PeerOwner {
  readonly bounds: ReadBounds;
  private readonly peers: (Peer | undefined)[] = [];
  private readonly generations: number[] = [];
  private readonly freeSlots: number[] = [];
  private readonly handshakes: Handshakes;
  /** Their head is whole, so no silent one displaces them; each has room among connections. */
  private readonly line = new WaitingLine<Peer, Acceptance>((peer, turn, acceptance) =>
    this.onTurn(peer, turn, acceptance),
  );
  private readonly closes: SocketDeadlines;
  private readonly pace: ReadPace;
  private readonly unsent: UnsentBytes;
  private readonly answerHttp: ConnectionListener;
  private dirty: Peer[] = [];
  private handlers: TransportHandlers | undefined;
  private isListening = false;
  /** At the server's bound, as they came. */
  private socketsDropped = 0;
  /** For what they say, not for who they are. */
  private requestsRefused = 0;
  private count = 0;

  constructor(private readonly options: NetEdgeOptions) {
    const { server, closeDeadlineMs, handshakeDeadlineMs, connectionsMax = 0 } = options;
    const { handshakesMax = Number.POSITIVE_INFINITY } = options;
    this.handshakes = new Handshakes(server, {
      deadlineMs: handshakeDeadlineMs ?? handshakeDeadlineMsDefault,
      socketsMax: () => {
        const room = connectionsMax - this.count - this.line.size;
        return handshakesMax + Math.max(0, room);
      },
      askingDeadlineMs: options.askingDeadlineMs ?? askingDeadlineMsDefault,
      askingMax: options.askingMax ?? Number.POSITIVE_INFINITY,
    });
    this.closes = new SocketDeadlines(closeDeadlineMs, destroy);
    const held = new HeldBytes(options.heldBytesMax ?? heldBytesMaxDefault);
    this.bounds = { messageBytesMax, held };
    this.pace = new ReadPace(options.framesRate ?? framesRateDefault);
    const { unsentBytesMax = unsentBytesMaxDefault } = options;
    this.unsent = new UnsentBytes(unsentBytesMax, ({ socket }) => socket.destroy());
    // The server's own listener is its HTTP parser. It stays a function that serves any socket
    // it is given ("connection" may be emitted by hand), and its deadlines run on.
    const event = server instanceof TlsServer ? "secureConnection" : "connection";
    const [listener] = server.listeners(event) as ConnectionListener[];
    assert(listener !== undefined, "an HTTP server listens for its connections");
    this.answerHttp = listener;
    server.off(event, listener);
    server.on("drop", () => this.socketsDropped++);
    server.on(event, this.onSocket);
    // On a socket that plain requests came over before.
    server.on("upgrade", this.onHttpUpgrade);
    options.gate?.standBefore(server);
  }

  get connectionCount(): number {
    return this.count;
  }

  figures(): Readonly<Record<string, number>> {
    const { held } = this.bounds;
    return {
      ...this.handshakes.figures,
      inLine: this.line.size,
      socketsDropped: this.socketsDropped,
      proxiesRefused: this.options.gate?.refusals ?? 0,
      requestsRefused: this.requestsRefused,
      closing: this.closes.size,
      heldBytes: held.heldBytes,
      heldRefusals: held.refusals,
      slowedNow: this.pace.paused,
      slowed: this.pace.pausesSoFar,
      ...this.unsent.figures,
    };
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
    const first = this.line.takeFirst(countMax);
    for (const peer of first) this.refuse(peer, refusal);
    return first.length;
  }

  send(connection: ConnectionId, frame: Uint8Array, isText: boolean): void {
    const peer = this.peerOf(connection);
    if (peer === undefined || peer.isClosing) return;
    const opcode = isText ? opcodes.text : opcodes.binary;
    if (frame.length > copiedBytesMax) {
      this.queue(peer, encodeHead(opcode, frame.length));
      this.queue(peer, bufferOf(frame));
    } else {
      this.queue(peer, encodeFrame(opcode, frame));
    }
  }

  sendToMany(connections: readonly ConnectionId[], frame: Uint8Array, isText: boolean): void {
    const encoded = encodeFrame(isText ? opcodes.text : opcodes.binary, frame);
    for (const connection of connections) {
      const peer = this.peerOf(connection);
      if (peer !== undefined && !peer.isClosing) this.queue(peer, encoded);
    }
  }

  bufferedBytes(connection: ConnectionId): number {
    return this.peerOf(connection)?.bufferedBytes ?? 0;
  }

  unfinishedBytes(connection: ConnectionId): number {
    return this.peerOf(connection)?.unfinishedBytes ?? 0;
  }

  close(connection: ConnectionId, code: number, reason: string): void {
    const peer = this.peerOf(connection);
    if (peer === undefined || peer.isClosing) return;
    peer.startClosing();
    this.pace.forget(peer);
    // Our side ends when theirs has answered, or at the deadline.
    this.queue(peer, encodeClose(code, reason));
    this.closes.start(peer.socket);
  }

  // ---- the peers' side ----

  onMessage(peer: Peer, bytes: Buffer, isText: boolean): void {
    if (!peer.isClosing) this.handlers?.onMessage(peer.id, bytes, isText);
  }

  onPing(peer: Peer, bytes: Buffer): void {
    if (peer.isClosing || peer.bufferedBytes > pongsBytesMax) return;
    this.queue(peer, encodeFrame(opcodes.pong, bytes));
  }

  onCloseFrame(peer: Peer, payload: Buffer): void {
    if (!peer.isClosing) this.queue(peer, encodeFrame(opcodes.close, payload));
    this.end(peer);
  }

  onViolation(peer: Peer, code: Violation): void {
    if (!peer.isClosing) this.queue(peer, encodeClose(code, ""));
    this.end(peer);
  }

  onBytes(peer: Peer, chunk: Buffer): void {
    if (peer.id === 0) this.readHead(peer, chunk);
    else this.readFrames(peer, chunk);
  }

  onEnd(peer: Peer): void {
    this.line.leave(peer);
    this.end(peer);
  }

  onBehind(peer: Peer): void {
    if (!peer.socket.destroyed) this.unsent.note(peer);
  }

  onDrain(peer: Peer): void {
    this.unsent.forget(peer);
    if (peer.id !== 0 && !peer.isClosing) this.handlers?.onDrain?.(peer.id);
  }

  onGone(peer: Peer): void {
    this.line.leave(peer);
    this.handshakes.end(peer.socket);
    this.closes.end(peer.socket);
    this.pace.forget(peer);
    this.unsent.forget(peer);
    peer.letGo();
    const slot = slotOf(peer.id);
    if (peer.id === 0 || this.peers[slot] !== peer) return;
    this.peers[slot] = undefined;
    this.freeSlots.push(slot);
    this.count--;
    this.handlers?.onClose(peer.id, peer.closeCode);
  }

  private readFrames(peer: Peer, chunk: Buffer): void {
    const bytes = chunk.length;
    const frames = peer.take(chunk);
    if (!peer.isClosing) this.pace.note(peer, frames, bytes);
  }

  private end(peer: Peer): void {
    peer.end();
    this.closes.start(peer.socket);
  }

  // ---- handshakes ----

  private readonly onSocket = (socket: Socket): void => {
    new Peer(this, socket);
    this.handshakes.start(socket);
  };

  private readHead(peer: Peer, chunk: Buffer): void {
    // Refused: what it says now is for nobody.
    if (peer.isClosing) return;
    if (this.line.has(peer)) {
      this.keepEarly(peer, chunk);
      return;
    }
    const before = peer.head?.length ?? 0;
    if (peer.head?.append(chunk, 0, chunk.length) === false) {
      this.refuse(peer, noRoom);
      return;
    }
    const bytes = peer.head?.view ?? chunk;
    const found = findHead(bytes, before);
    switch (found.kind) {
      case "incomplete":
        if (peer.head !== undefined) return;
        peer.head = new GrownBytes(this.bounds.held);
        if (!peer.head.append(chunk, 0, chunk.length)) this.refuse(peer, noRoom);
        return;
      case "other":
        this.leaveToHttp(peer, bytes);
        return;
      case "refused":
        this.requestsRefused++;
        this.refuse(peer, found.refusal);
        return;
      case "upgrade":
        this.handshakes.end(peer.socket);
        this.upgrade(peer, found.head, bytes.subarray(found.end));
        if (!this.line.has(peer)) peer.letGoOfHead();
    }
  }

  private leaveToHttp(peer: Peer, bytes: Buffer): void {
    const { socket } = peer;
    peer.leaveSocket();
    this.handshakes.leaveToHttp(socket);
    socket.unshift(bytes);
    peer.letGoOfHead();
    this.answerHttp.call(this.options.server, socket);
  }

  private readonly onHttpUpgrade = (
    request: IncomingMessage,
    socket: Duplex,
    first: Buffer,
  ): void => {
    const { method = "", url = "", httpVersion, rawHeaders } = request;
    const head = { method, target: url, version: httpVersion, headers: headersOf(rawHeaders) };
    // What Node's server accepted is a Socket; its type says only what any may emit.
    const accepted = socket as Socket;
    this.handshakes.takeFromHttp(accepted);
    this.upgrade(new Peer(this, accepted), head, first);
  };

  private upgrade(peer: Peer, head: RequestHead, first: Buffer): void {
    const answer = this.answerTo(peer.socket, head);
    if (answer === undefined) this.adopt(peer, acceptanceOf(head), first);
    else if (isTurn(answer)) this.wait(peer, head, first, answer);
    else this.refuse(peer, answer);
  }

  /** It is read on, else nobody would hear that it goes. */
  private wait(peer: Peer, head: RequestHead, first: Buffer, turn: HandshakeTurn): void {
    const early = Buffer.from(first);
    peer.letGoOfHead();
    this.line.add(peer, turn, acceptanceOf(head));
    if (early.length > 0) this.keepEarly(peer, early);
  }

  /** A client has nothing to say before it is answered. */
  private keepEarly(peer: Peer, chunk: Buffer): void {
    peer.head ??= new GrownBytes(this.bounds.held);
    const isRoom = peer.head.length + chunk.length <= earlyBytesMax;
    if (isRoom && peer.head.append(chunk, 0, chunk.length)) return;
    this.line.leave(peer);
    this.refuse(peer, noRoom);
  }

  private onTurn(peer: Peer, turn: HandshakeTurn, acceptance: Acceptance): void {
    const refusal = turn.take();
    if (refusal !== undefined) {
      this.refuse(peer, refusal);
      return;
    }
    const early = Buffer.from(peer.head?.view ?? []);
    peer.letGoOfHead();
    this.adopt(peer, acceptance, early);
  }

  private answerTo(socket: Socket, head: RequestHead): Refusal | HandshakeTurn | undefined {
    const refusal = refusalOf(head, this.options.path);
    if (refusal !== undefined) {
      this.requestsRefused++;
      return refusal;
    }
    const { handlers } = this;
    if (handlers === undefined || !this.isListening || this.isFull) return notListening;
    const { gate } = this.options;
    return handlers.onUpgrade({
      // Read only where it is wanted: from then on the socket keeps it, for all its life.
      get remoteAddress() {
        return gate?.addressOf(socket) ?? socket.remoteAddress ?? "";
      },
      origin: head.headers.get("origin"),
      get forwardedFor() {
        // Of a client that the proxy left unnamed it is the client's own word.
        if (gate?.isClientKnown(socket) === false) return undefined;
        return head.headers.get("x-forwarded-for");
      },
    });
  }

  /** Of slots. */
  private get isFull(): boolean {
    return this.count + this.line.size >= slotsMax;
  }

  private refuse(peer: Peer, refusal: Refusal): void {
    const { socket } = peer;
    peer.letGoOfHead();
    peer.startClosing();
    this.handshakes.end(socket);
    this.closes.start(socket);
    // At once when all is written: the server's sockets outlive their peer's silence.
    socket.once("finish", destroyThis);
    socket.end(refusalAnswer(refusal), "latin1");
  }

  private adopt(peer: Peer, { answer, subprotocol }: Acceptance, first: Buffer): void {
    const slot = this.freeSlots.pop() ?? this.peers.length;
    const generation = ((this.generations[slot] ?? 0) % (2 ** 30 - 1)) + 1;
    this.generations[slot] = generation;
    peer.id = connectionId(slot, generation);
    this.peers[slot] = peer;
    this.count++;
    this.pace.open(slot);
    this.queue(peer, answer);
    // Without a subprotocol a client is taken to speak the binary one.
    this.handlers?.onOpen(peer.id, subprotocol ?? "belfry.v1");
    if (first.length > 0) this.readFrames(peer, first);
  }

  // ---- writing ----

  private queue(peer: Peer, bytes: Buffer): void {
    if (!peer.queue(bytes)) return;
    if (this.dirty.push(peer) === 1) setImmediate(this.flushAll);
  }

  private readonly flushAll = (): void => {
    const { dirty } = this;
    this.dirty = [];
    for (const peer of dirty) peer.flush();
  };

  private peerOf(connection: ConnectionId): Peer | undefined {
    const peer = this.peers[slotOf(connection)];
    return peer?.id === connection ? peer : undefined;
  }
}

function destroy(socket: Socket): void {
  socket.destroy();
}

function destroyThis(this: Socket): void {
  this.destroy();
}

function bufferOf({ buffer, byteOffset, length }: Uint8Array): Buffer {
  return Buffer.from(buffer, byteOffset, length);
}
