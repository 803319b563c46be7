/**
 * The sockets that are no connection (yet), in the order in which they came, each kind
 * with one deadline and one bound for all; see socket-deadlines.
 *
 *   accepted ─┬─ under TLS ── its handshake ─▶ started anew ─┐
 *             └──────────────────────────────────────────────┴─▶ its head ─┬─ an upgrade ─▶ done
 *                                          the HTTP server's, until it is whole ─▶ asking
 *
 * Who stops anywhere on this way gives way to the next, so no peer keeps others out by
 * what it does not say. Whose plain request is whole is no longer counted with these, but
 * with its like: who asked longest ago gives way, be it idle or slow to read its answer.
 */
import type { IncomingMessage, Server } from "node:http";
import type { Socket } from "node:net";
import { type TLSSocket, Server as TlsServer } from "node:tls";
import { assert } from "../base/assert.js";
import { SocketDeadlines } from "./socket-deadlines.js";
import { placeOf } from "./socket-place.js";

type SocketListener = (this: Server, socket: Socket) => void;

export interface HandshakeBounds {
  readonly deadlineMs: number;
  readonly socketsMax: () => number;
  /** From a whole plain request to the next, or to its socket's end. */
  readonly askingDeadlineMs: number;
  readonly askingMax: number;
}

export class Handshakes {
  private readonly underWay: SocketDeadlines;
  private readonly asking: SocketDeadlines;
  /** Those whose TLS handshake is under way, by their places. */
  private readonly belowTls = new Map<string, Socket>();
  /** Where each of those is: a socket that is closed says it no more. */
  private readonly places = new Map<Socket, string>();

  /** Stands before the server's own listener for sockets, behind a gate that is put there later. */
  constructor(server: Server, bounds: HandshakeBounds) {
    this.underWay = new SocketDeadlines(bounds.deadlineMs, destroy, bounds.socketsMax);
    const { askingDeadlineMs, askingMax } = bounds;
    this.asking = new SocketDeadlines(askingDeadlineMs, destroy, () => askingMax);
    if (server instanceof TlsServer) this.watchTls(server);
    server.on("request", ({ socket }: IncomingMessage) => this.ask(socket));
  }

  get figures(): Readonly<Record<string, number>> {
    const [underWay, asking] = [this.underWay.ended, this.asking.ended];
    return {
      handshakes: this.underWay.size,
      handshakesUnderTls: this.belowTls.size,
      handshakesOverdue: underWay.overdue,
      handshakesDisplaced: underWay.displaced,
      asking: this.asking.size,
      askingOverdue: asking.overdue,
      askingDisplaced: asking.displaced,
    };
  }

  start(socket: Socket): void {
    this.underWay.start(socket);
  }

  end(socket: Socket): void {
    this.underWay.end(socket);
  }

  /** Its head is the HTTP server's to read, and it is under way as before until it is whole. */
  leaveToHttp(socket: Socket): void {
    socket.on("close", this.onHttpGone);
  }

  /** It asked for an upgrade: of a plain request before, nothing is left. */
  takeFromHttp(socket: Socket): void {
    socket.off("close", this.onHttpGone);
    this.underWay.end(socket);
    this.asking.end(socket);
  }

  /** Each request puts its socket behind all others. */
  private ask(socket: Socket): void {
    this.underWay.end(socket);
    this.asking.end(socket);
    if (!socket.destroyed) this.asking.start(socket);
  }

  private watchTls(server: Server): void {
    const [pass] = server.listeners("connection") as SocketListener[];
    assert(pass !== undefined, "a TLS server listens for its sockets");
    server.off("connection", pass);
    server.on("connection", (socket: Socket) => {
      const place = placeOf(socket);
      if (place === undefined) {
        socket.destroy();
        return;
      }
      this.underWay.start(socket);
      this.belowTls.set(place, socket);
      this.places.set(socket, place);
      socket.on("close", this.onTlsGone);
      pass.call(server, socket);
    });
    server.on("secureConnection", (socket: TLSSocket) => {
      const place = placeOf(socket);
      const below = place === undefined ? undefined : this.belowTls.get(place);
      if (below === undefined) return;
      below.off("close", this.onTlsGone);
      this.endTls(below);
    });
  }

  private endTls(socket: Socket): void {
    this.underWay.end(socket);
    const place = this.places.get(socket);
    this.places.delete(socket);
    // The kernel gives a port anew before we hear of the former socket's end.
    if (place !== undefined && this.belowTls.get(place) === socket) this.belowTls.delete(place);
  }

  private readonly onTlsGone = this.bound((socket) => this.endTls(socket));

  private readonly onHttpGone = this.bound((socket) => {
    this.underWay.end(socket);
    this.asking.end(socket);
  });

  /** One listener for all sockets: a closure for each would be memory of every one. */
  private bound(onSocket: (socket: Socket) => void): (this: Socket) => void {
    return function () {
      onSocket(this);
    };
  }
}

function destroy(socket: Socket): void {
  socket.destroy();
}
