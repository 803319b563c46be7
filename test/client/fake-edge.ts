/** An edge in memory: a WebSocket constructor whose sockets a test plays the other end of. */
import { ok } from "node:assert/strict";
import type { DeviceSocketConstructor } from "../../src/client/device-socket.js";
import { unpackValue } from "../../src/protocol/codec.js";
import { encodeFrame, serverKinds } from "../../src/protocol/frames.js";

interface CloseEvent {
  readonly code: number;
  readonly reason: string;
  readonly retryAfterMs?: number;
}

export class FakeSocket {
  binaryType = "blob";
  readyState = 0;
  onopen: ((event: unknown) => void) | null = null;
  onmessage: ((event: { data: unknown }) => void) | null = null;
  onclose: ((event: CloseEvent) => void) | null = null;
  onerror: ((event: unknown) => void) | null = null;
  /** Every frame of the client, decoded. */
  readonly received: unknown[][] = [];
  closedWith: number | undefined;

  constructor(
    readonly url: string,
    readonly protocols: string[],
  ) {}

  send(data: string | Uint8Array): void {
    ok(this.readyState === 1, "the client sends only on an open socket");
    const frame = typeof data === "string" ? JSON.parse(data) : unpackValue(data);
    this.received.push(frame as unknown[]);
  }

  /** As a browser does it: `onclose` comes when the peer has answered, which it never does here. */
  close(code?: number, reason = ""): void {
    ok(Buffer.byteLength(reason) <= 123, "a socket throws on a longer reason");
    this.readyState = 2;
    this.closedWith = code;
  }

  // ---- the edge's end ----

  open(): void {
    this.readyState = 1;
    this.onopen?.({});
  }

  reply(frame: readonly unknown[]): void {
    const isText = this.protocols[0] === "belfry.v1.json";
    const bytes = encodeFrame(frame, isText);
    const data = isText ? Buffer.from(bytes).toString() : Uint8Array.from(bytes).buffer;
    this.onmessage?.({ data });
  }

  /** The edge closes, or the network does (1006). */
  drop(code = 1006, reason = "", retryAfterMs?: number): void {
    this.readyState = 3;
    this.onclose?.({ code, reason, ...(retryAfterMs === undefined ? {} : { retryAfterMs }) });
  }

  ofKind(kind: number): unknown[][] {
    return this.received.filter((frame) => frame[0] === kind);
  }

  get hello(): Record<string, unknown> {
    const [frame] = this.received;
    ok(frame?.[0] === 1, "hello is the first frame");
    return frame[1] as Record<string, unknown>;
  }

  welcome(heartbeatMs = 10_000, takes?: readonly number[]): void {
    const more = takes === undefined ? {} : { takes };
    this.reply([serverKinds.welcome, { v: 1, node: "n", connection: 1, heartbeatMs, ...more }]);
  }

  attached(generation: number, seq: number, uid = "alice"): void {
    const info = { app: "demo", uid, device: "d", tokenExpiresAt: 2_000_000_000 };
    this.reply([serverKinds.attached, 0, generation, seq, info]);
  }

  /** Opens, greets and attaches. */
  accept(generation = 1, seq = 0): void {
    this.open();
    this.welcome();
    this.attached(generation, seq);
  }

  message(seq: number, prev: number, id = `m${seq}`, generation = 1): void {
    this.reply([serverKinds.message, 0, generation, seq, prev, id, null, `body ${id}`]);
  }
}

export class FakeEdge {
  readonly sockets: FakeSocket[] = [];
  readonly constructorForClients: DeviceSocketConstructor;

  constructor() {
    const { sockets } = this;
    this.constructorForClients = class extends FakeSocket {
      constructor(url: string, protocols: string[]) {
        super(url, protocols);
        sockets.push(this);
      }
    };
  }

  /** The newest connection. */
  get socket(): FakeSocket {
    const socket = this.sockets.at(-1);
    ok(socket !== undefined, "the client has connected");
    return socket;
  }
}

/** As good as a JWT for a client, which does not check it. */
export function tokenFor(uid: string, serial = 0): string {
  const part = (value: unknown) => Buffer.from(JSON.stringify(value)).toString("base64url");
  return `${part({ alg: "HS256" })}.${part({ app: "demo", sub: uid, serial })}.signature`;
}
