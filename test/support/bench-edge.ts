/** Sockets in memory between clients that a test plays and the edge of one process. */

import {
  type ConnectionId,
  connectionId,
  type EdgeTransport,
  type HandshakeRefusal,
  type HandshakeTurn,
  isTurn,
  type ListenAddress,
  type TransportHandlers,
} from "../../src/ports/edge-transport.js";
import { packValue, unpackValue } from "../../src/protocol/codec.js";
import { clientKinds, serverKinds } from "../../src/protocol/frames.js";
import type { StoppableProcess } from "./stoppable-process.js";

/** What a test plays at the other end of a socket. */
export interface EdgeClient {
  closedWith: number | undefined;
  onFrame(bytes: Uint8Array): void;
}

export class BenchEdge implements EdgeTransport {
  /** What every client has not read. */
  unreadBytes = 0;
  /** Handshakes that wait; a test takes their turns by itself. */
  readonly line: HandshakeTurn[] = [];
  /** What those were told that were refused while they waited. */
  readonly refusedInLine: HandshakeRefusal[] = [];
  private handlers: TransportHandlers | undefined;
  private readonly clients = new Map<ConnectionId, EdgeClient>();
  private slots = 0;

  constructor(private readonly process: StoppableProcess) {}

  figures(): Readonly<Record<string, number>> {
    return {};
  }

  async listen(handlers: TransportHandlers): Promise<ListenAddress> {
    this.handlers = handlers;
    return { host: "", port: 0 };
  }

  send(connection: ConnectionId, frame: Uint8Array): void {
    this.clients.get(connection)?.onFrame(frame);
  }

  sendToMany(connections: readonly ConnectionId[], frame: Uint8Array): void {
    for (const connection of connections) this.send(connection, frame);
  }

  bufferedBytes(): number {
    return this.unreadBytes;
  }

  unfinishedBytes(): number {
    return 0;
  }

  close(connection: ConnectionId, code: number): void {
    const client = this.clients.get(connection);
    if (client === undefined) return;
    this.clients.delete(connection);
    client.closedWith = code;
    this.handlers?.onClose(connection, code);
  }

  /** The clients' machines are gone. */
  closeAll(): void {
    for (const connection of [...this.clients.keys()]) this.close(connection, 1006);
  }

  /** The client goes by itself. */
  leave(client: EdgeClient): void {
    for (const [connection, each] of this.clients) {
      if (each === client) this.close(connection, 1000);
    }
  }

  get connectionCount(): number {
    return this.clients.size;
  }

  refuseWaiting(refusal: HandshakeRefusal, countMax: number): number {
    const first = this.line.splice(0, countMax);
    for (const turn of first) {
      turn.leave();
      this.refusedInLine.push(refusal);
    }
    return first.length;
  }

  async stopListening(): Promise<void> {
    this.handlers = undefined;
  }

  /** What a handshake is refused with; undefined where it is let in, or into the line. */
  shake(): HandshakeRefusal | undefined {
    const { handlers } = this;
    if (handlers === undefined) throw new Error("nobody listens");
    const handshake = { remoteAddress: "", origin: undefined, forwardedFor: undefined };
    const answer = handlers.onUpgrade(handshake);
    if (answer === undefined || !isTurn(answer)) return answer;
    this.line.push(answer);
    return undefined;
  }

  /** A client that has said nothing yet. */
  open<Client extends EdgeClient>(make: (toEdge: (bytes: Uint8Array) => void) => Client): Client {
    const connection = connectionId(this.slots++, 1);
    const client = make((bytes) =>
      this.process.input(() => this.handlers?.onMessage(connection, bytes, false)),
    );
    this.clients.set(connection, client);
    this.handlers?.onOpen(connection, "belfry.v1");
    return client;
  }

  /** A client of `uid` that acks all it is sent. `again`: what a later hello says beside. */
  connect(uid: string, device: string, again: Record<string, unknown> = {}): BenchClient {
    const client = this.open((toEdge) => new BenchClient(toEdge));
    const token = JSON.stringify({ app: "demo", sub: uid });
    client.send([clientKinds.hello, { v: 1, token, device, connect: 1, start: "all", ...again }]);
    return client;
  }
}

export class BenchClient implements EdgeClient {
  closedWith: number | undefined;
  isAttached = false;
  /** Else it acks when it is told to. */
  isAcking = true;
  readonly bodies: unknown[] = [];
  /** What the first attach named, and what the last message had. */
  base: readonly [generation: number, seq: number] | undefined;
  get position(): readonly [generation: number, seq: number] {
    return [this.generation, this.lastSeq];
  }
  /** At most once. */
  readonly passing: unknown[] = [];
  readonly directives: unknown[] = [];
  /** Of its calls: number, code, value. */
  readonly answers: unknown[][] = [];
  /** What is none of the above, as it came. */
  readonly others: (readonly unknown[])[] = [];
  private generation = 0;
  private lastSeq = 0;

  constructor(private readonly toEdge: (bytes: Uint8Array) => void) {}

  send(frame: readonly unknown[]): void {
    this.toEdge(packValue(frame));
  }

  onFrame(bytes: Uint8Array): void {
    const [kind, session, ...fields] = unpackValue(bytes) as [number, number, ...unknown[]];
    if (kind === serverKinds.attached) {
      this.isAttached = true;
      [this.generation, this.lastSeq] = fields as [number, number];
      this.base ??= this.position;
    } else if (kind === serverKinds.directive) {
      this.directives.push(session);
    } else if (kind === serverKinds.answer) {
      this.answers.push(fields);
    } else if (kind === serverKinds.passing) {
      this.passing.push(fields.at(-1));
    } else if (kind === serverKinds.message) {
      const [generation, seq, prev] = fields as [number, number, number];
      const isNext = generation === this.generation && prev === this.lastSeq;
      if (!isNext) throw new Error(`seq ${seq} with prev ${prev} after ${this.lastSeq}`);
      this.lastSeq = seq;
      this.bodies.push(fields.at(-1));
      if (this.isAcking) this.ack(session);
    } else {
      this.others.push([kind, session, ...fields]);
    }
  }

  ack(session = 0): void {
    this.send([clientKinds.ack, session, this.generation, this.lastSeq]);
  }
}
