/**
 * The sockets between clients and edges: in order both ways, and broken in the ways in
 * which sockets break. A client that vanishes tells nobody; an edge that is killed may.
 */
import {
  type ConnectionId,
  connectionId,
  type EdgeTransport,
  type HandshakeTurn,
  isTurn,
  type ListenAddress,
  slotOf,
  type TransportHandlers,
} from "../../src/ports/edge-transport.js";
import type { SimProcess } from "./sim-process.js";
import type { World } from "./world.js";

/** The client's end. */
export interface ClientEnd {
  onOpen(): void;
  onFrame(bytes: Uint8Array): void;
  onClose(code: number): void;
}

const abnormal = 1006;

export class SimSocket {
  /** Its own device's session. */
  readonly index = 0;
  /** Set when the edge has taken it. */
  connection: ConnectionId | undefined;
  isVanished = false;
  isClosedHere = false;
  private lastUpMs = 0;
  private lastDownMs = 0;

  constructor(
    private readonly world: World,
    readonly transport: SimTransport,
    private readonly end: ClientEnd,
  ) {}

  /** Of the client. */
  send(bytes: Uint8Array): void {
    if (this.isVanished || this.isClosedHere) return;
    this.toEdge("frame up", () => this.transport.onBytes(this, bytes));
  }

  /** Of the client: a proper close. */
  close(): void {
    if (this.isVanished || this.isClosedHere) return;
    this.isClosedHere = true;
    this.toEdge("close up", () => this.transport.onGone(this, 1000));
  }

  /** The client's machine is gone, or its network: nobody is told. */
  vanish(): void {
    this.isVanished = true;
  }

  toEdge(label: string, run: () => void): void {
    this.lastUpMs = Math.max(this.lastUpMs + 0.001, this.world.nowMs + this.delayMs());
    this.world.at(this.lastUpMs, label, () => this.transport.process.receive(label, run));
  }

  toClient(label: string, run: (end: ClientEnd) => void): void {
    this.lastDownMs = Math.max(this.lastDownMs + 0.001, this.world.nowMs + this.delayMs());
    this.world.at(this.lastDownMs, label, () => {
      if (!this.isVanished && !this.isClosedHere) run(this.end);
    });
  }

  private delayMs(): number {
    const { random } = this.world;
    return random.chance(0.02) ? random.between(5, 200) : random.between(0.2, 5);
  }
}

export class SimTransport implements EdgeTransport {
  /** Each frame as it is put on the wire; the checkers'. */
  onSent: (connection: ConnectionId, frame: Uint8Array) => void = () => {};
  private handlers: TransportHandlers | undefined;
  private isListening = false;
  private readonly sockets: (SimSocket | undefined)[] = [];
  private readonly generations: number[] = [];
  private readonly closing = new Set<SimSocket>();
  private readonly line = new Map<SimSocket, HandshakeTurn>();
  private count = 0;

  constructor(
    private readonly world: World,
    readonly process: SimProcess,
    private readonly closeDeadlineMs: number,
  ) {}

  get connectionCount(): number {
    return this.count;
  }

  figures(): Readonly<Record<string, number>> {
    return {};
  }

  async listen(handlers: TransportHandlers): Promise<ListenAddress> {
    this.handlers = handlers;
    this.isListening = true;
    return { host: this.process.name, port: 1 };
  }

  async stopListening(): Promise<void> {
    this.isListening = false;
    this.refuseWaiting();
  }

  refuseWaiting(_refusal?: unknown, countMax = this.line.size): number {
    const first = [...this.line].slice(0, countMax);
    for (const [socket, turn] of first) {
      this.line.delete(socket);
      turn.leave();
      this.refuse(socket);
    }
    return first.length;
  }

  send(connection: ConnectionId, frame: Uint8Array): void {
    const socket = this.socketOf(connection);
    if (socket === undefined || this.closing.has(socket)) return;
    this.onSent(connection, frame);
    const bytes = new Uint8Array(frame);
    socket.toClient("frame down", (end) => end.onFrame(bytes));
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
    const socket = this.socketOf(connection);
    if (socket === undefined || this.closing.has(socket)) return;
    this.closing.add(socket);
    socket.toClient("close down", (end) => {
      socket.isClosedHere = true;
      end.onClose(code);
      socket.toEdge("closed", () => this.onGone(socket, code));
    });
    this.process.after(this.closeDeadlineMs, () => this.onGone(socket, abnormal));
  }

  // ---- the world's side ----

  connect(end: ClientEnd): SimSocket {
    const socket = new SimSocket(this.world, this, end);
    socket.toEdge("connect", () => this.onConnect(socket));
    if (this.process.isDead) this.refuse(socket);
    return socket;
  }

  onBytes(socket: SimSocket, bytes: Uint8Array): void {
    const { connection } = socket;
    if (connection === undefined || this.closing.has(socket)) return;
    if (this.socketOf(connection) !== socket) return;
    this.handlers?.onMessage(connection, bytes, false);
  }

  onGone(socket: SimSocket, code: number): void {
    this.line.get(socket)?.leave();
    this.line.delete(socket);
    const { connection } = socket;
    if (connection === undefined || this.socketOf(connection) !== socket) return;
    this.sockets[slotOf(connection)] = undefined;
    this.closing.delete(socket);
    this.count--;
    this.handlers?.onClose(connection, code);
  }

  /** The process was killed; of most sockets the kernel tells the other side. */
  breakAll(): void {
    for (const socket of this.sockets) {
      if (socket === undefined || this.world.random.chance(0.2)) continue;
      this.refuse(socket);
    }
  }

  connections(): ConnectionId[] {
    return this.sockets.flatMap((socket) =>
      socket?.connection === undefined || this.closing.has(socket) ? [] : [socket.connection],
    );
  }

  socketOf(connection: ConnectionId): SimSocket | undefined {
    const socket = this.sockets[slotOf(connection)];
    return socket?.connection === connection ? socket : undefined;
  }

  private refuse(socket: SimSocket): void {
    socket.toClient("refused", (end) => {
      socket.isClosedHere = true;
      end.onClose(abnormal);
    });
  }

  private onConnect(socket: SimSocket): void {
    const { handlers } = this;
    const handshake = { remoteAddress: "10.0.0.1", origin: undefined, forwardedFor: undefined };
    if (!this.isListening || handlers === undefined) {
      this.refuse(socket);
      return;
    }
    const answer = handlers.onUpgrade(handshake);
    if (answer === undefined) this.adopt(socket, handlers);
    else if (isTurn(answer)) this.wait(socket, handlers, answer);
    else this.refuse(socket);
  }

  private wait(socket: SimSocket, handlers: TransportHandlers, turn: HandshakeTurn): void {
    this.line.set(socket, turn);
    this.process.after(turn.waitMs, () => {
      if (!this.line.delete(socket)) return;
      if (turn.take() === undefined) this.adopt(socket, handlers);
      else this.refuse(socket);
    });
  }

  private adopt(socket: SimSocket, handlers: TransportHandlers): void {
    let slot = this.sockets.indexOf(undefined);
    if (slot < 0) slot = this.sockets.length;
    const generation = (this.generations[slot] ?? 0) + 1;
    this.generations[slot] = generation;
    const connection = connectionId(slot, generation);
    socket.connection = connection;
    this.sockets[slot] = socket;
    this.count++;
    socket.toClient("open", (end) => end.onOpen());
    handlers.onOpen(connection, "belfry.v1");
  }
}
