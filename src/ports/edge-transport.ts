/**
 * The sockets of an edge. Connections are numbers, never socket objects: a slot and
 * its generation, so that a late message never reaches the slot's next tenant.
 *
 * Guarantees: frames to one connection leave in the order they were sent; those of
 * one loop turn leave as one write. After `close` no callback but `onClose` comes for
 * that connection. `onClose` comes exactly once for each `onOpen`, whoever ended it.
 */
declare const connectionBrand: unique symbol;
export type ConnectionId = number & { readonly [connectionBrand]: true };

/** Slots of one edge: the low bits of a connection's number. */
export const slotsMax = 2 ** 20;

export function connectionId(slot: number, generation: number): ConnectionId {
  return (generation * slotsMax + slot) as ConnectionId;
}

/** Small and dense: slots of closed connections are given again. */
export function slotOf(connection: ConnectionId): number {
  return connection % slotsMax;
}

export interface EdgeTransport {
  listen(handlers: TransportHandlers): Promise<ListenAddress>;
  /**
   * Sends one ready frame; a text frame for clients of the JSON subprotocol. The transport
   * may keep `frame` until it is written: who sends it changes it no more.
   */
  send(connection: ConnectionId, frame: Uint8Array, isText: boolean): void;
  /** The same to each; what is around the frame on the wire is made once. */
  sendToMany(connections: readonly ConnectionId[], frame: Uint8Array, isText: boolean): void;
  /** Bytes accepted by `send` and not yet taken by the kernel. */
  bufferedBytes(connection: ConnectionId): number;
  /** Bytes that came of a message which is not whole yet. */
  unfinishedBytes(connection: ConnectionId): number;
  /**
   * Sends a close frame behind what was sent; by the transport's own deadline the socket
   * is gone, whatever the peer does. Does nothing for a connection that is closing or gone.
   */
  close(connection: ConnectionId, code: number, reason: string): void;
  readonly connectionCount: number;
  /** For operators: what it holds and counts below the protocol. */
  figures(): Readonly<Record<string, number>>;
  /** Refuses up to so many handshakes that wait, those first that came first; returns how many. */
  refuseWaiting(refusal: HandshakeRefusal, countMax: number): number;
  /**
   * Upgrades are refused until the next `listen`, also those that wait; the connections live on.
   */
  stopListening(): Promise<void>;
}

export interface TransportHandlers {
  /**
   * Returns undefined to accept, and its `onOpen` is what comes next; what to refuse with; or
   * a turn, which is asked when it has come.
   */
  onUpgrade(handshake: Handshake): HandshakeRefusal | HandshakeTurn | undefined;
  onOpen(connection: ConnectionId, protocol: Subprotocol): void;
  /** `bytes` are valid during the call only. */
  onMessage(connection: ConnectionId, bytes: Uint8Array, isText: boolean): void;
  /** All that `send` took is with the kernel, after some of it had to wait. */
  onDrain?(connection: ConnectionId): void;
  /** `code` is of the peer's close frame: 1005 where it has none, 1006 where none came. */
  onClose(connection: ConnectionId, code: number): void;
}

/** Who wants to connect. Headers are as they came: whom to believe is the caller's affair. */
export interface Handshake {
  /** Of the socket, or whom a proxy said by the PROXY protocol; empty where it is gone. */
  readonly remoteAddress: string;
  /** Browsers say here whose page it is. */
  readonly origin: string | undefined;
  /** `X-Forwarded-For`. */
  readonly forwardedFor: string | undefined;
}

export type Subprotocol = "belfry.v1" | "belfry.v1.json";

export interface HandshakeRefusal {
  readonly status: number;
  readonly reason: string;
  readonly retryAfterSeconds?: number;
}

/**
 * A handshake that is to be answered later. Exactly one of the two calls comes, once: turns
 * of the same length in the order in which they were given, none before its time.
 */
export interface HandshakeTurn {
  readonly waitMs: number;
  /** As `onUpgrade`. */
  take(): HandshakeRefusal | undefined;
  /** Its peer went away, or the transport refuses it. */
  leave(): void;
}

export function isTurn(answer: HandshakeRefusal | HandshakeTurn): answer is HandshakeTurn {
  return "waitMs" in answer;
}

export interface ListenAddress {
  readonly host: string;
  readonly port: number;
}
