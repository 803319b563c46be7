/**
 * Stands before a server's own listener for sockets, where proxies say first whose each
 * one is (PROXY protocol): takes that head off and passes the socket on.
 *
 *   accepted ─┬─ from elsewhere ──────────────────────────▶ passed on as it is
 *             └─ from a trusted address ─┬─ its head reads ─▶ passed on, its client known
 *                                        └─ none, or late ──▶ gone
 *
 * A trusted proxy that says nothing is not guessed at: it would be taken for its client.
 */
import type { Server, Socket } from "node:net";
import type { AddressRanges } from "../base/address-ranges.js";
import { assert } from "../base/assert.js";
import { proxyHeaderBytesMax, readProxyHeader } from "./proxy-header.js";
import { SocketDeadlines } from "./socket-deadlines.js";
import { placeOf } from "./socket-place.js";

export interface ProxyGateOptions {
  readonly trusted: AddressRanges;
  readonly deadlineMs: number;
  /** Whose head is not there yet; see socket-deadlines. */
  readonly socketsMax: number;
}

type ConnectionListener = (this: Server, socket: Socket) => void;

export class ProxyGate {
  /** Of sockets that are open, by their places: the proxy's own address and port, and ours. */
  private readonly clients = new Map<string, { readonly address: string }>();
  private readonly waiting: SocketDeadlines;
  private refused = 0;

  constructor(private readonly options: ProxyGateOptions) {
    const { deadlineMs, socketsMax } = options;
    const refuse = (socket: Socket) => this.refuse(socket);
    this.waiting = new SocketDeadlines(deadlineMs, refuse, () => socketsMax);
  }

  /** How many came without a head that reads, in time. */
  get refusals(): number {
    return this.refused;
  }

  /** Of how many sockets it knows whose they are. */
  get known(): number {
    return this.clients.size;
  }

  /** Behind whatever else listens for the server's sockets by then. */
  standBefore(server: Server): void {
    const [pass] = server.listeners("connection") as ConnectionListener[];
    assert(pass !== undefined, "a server listens for its sockets");
    server.off("connection", pass);
    server.on("connection", (socket: Socket) => {
      if (this.options.trusted.has(socket.remoteAddress ?? "")) this.readHead(socket, server, pass);
      else pass.call(server, socket);
    });
  }

  /** The client's where a proxy said it, else the socket's own; of a TLS socket, too. */
  addressOf(socket: Socket): string {
    return this.clientOf(socket)?.address ?? socket.remoteAddress ?? "";
  }

  /**
   * Whether a proxy said whose it is. Where it did not (`UNKNOWN`, LOCAL) the address is the
   * trusted proxy's own, and what the socket says of others would be believed.
   */
  isClientKnown(socket: Socket): boolean {
    return this.clientOf(socket) !== undefined;
  }

  private clientOf(socket: Socket): { readonly address: string } | undefined {
    const place = placeOf(socket);
    return place === undefined ? undefined : this.clients.get(place);
  }

  private readHead(socket: Socket, server: Server, pass: ConnectionListener): void {
    let head: Buffer = Buffer.alloc(0);
    const onData = (chunk: Buffer) => {
      head = head.length === 0 ? chunk : Buffer.concat([head, chunk]);
      const read = readProxyHeader(head);
      // A client's first bytes may have come with it; a head alone has its bound.
      if (read.kind === "bad") this.refuse(socket);
      if (read.kind === "incomplete" && head.length > proxyHeaderBytesMax) this.refuse(socket);
      if (read.kind !== "read") return;
      leave();
      this.know(socket, read.address);
      // Flowing on, what is put back would be lost to TLS, which takes what is buffered.
      socket.pause();
      if (head.length > read.end) socket.unshift(head.subarray(read.end));
      pass.call(server, socket);
      if (socket.listenerCount("data") > 0) socket.resume();
    };
    const onEnd = () => this.refuse(socket);
    const leave = () => {
      this.waiting.end(socket);
      socket.off("data", onData).off("end", onEnd).off("close", leave).off("error", ignoreError);
    };
    this.waiting.start(socket);
    socket.on("data", onData).on("end", onEnd).on("close", leave).on("error", ignoreError);
  }

  private know(socket: Socket, address: string | undefined): void {
    const place = placeOf(socket);
    if (address === undefined || place === undefined) return;
    const client = { address };
    this.clients.set(place, client);
    // Its place may be another's by then: the kernel gives a port anew before we hear of it.
    socket.once("close", () => {
      if (this.clients.get(place) === client) this.clients.delete(place);
    });
  }

  private refuse(socket: Socket): void {
    this.refused++;
    socket.destroy();
  }
}

function ignoreError(): void {
  // The close event follows and says all that matters.
}
