/**
 * A WebSocket client (RFC 6455) that costs as little as one can: the load must not
 * take the processor that the platform under load needs. No fragmented frames; the
 * mask is zero, which the RFC's rule on form allows to be any.
 */
import { randomBytes } from "node:crypto";
import { connect, type Socket } from "node:net";
import { connect as connectTls, createSecureContext, type SecureContext } from "node:tls";

export interface LeanHandlers {
  onOpen(): void;
  /** `frame` is valid during the call only. */
  onFrame(frame: Buffer): void;
  onClose(end: LeanEnd): void;
}

export interface LeanEnd {
  /** Of a close frame; 1006 where none came. */
  readonly code: number;
  /** Of a close frame, the status line of a refusal, or what the socket says. */
  readonly reason: string;
  /** The header of a refusal. */
  readonly retryAfter?: string;
}

const headerEnd = Buffer.from("\r\n\r\n");
const textOpcode = 1;
const binaryOpcode = 2;
const closeOpcode = 8;
const noCloseFrame = 1006;
const retryAfterHeader = /\r\nretry-after: *([^\r]*)/i;

export class LeanWebSocket {
  private readonly socket: Socket;
  private rest: Buffer | undefined;
  private isOpen = false;
  private ended: LeanEnd = { code: noCloseFrame, reason: "the socket ended" };

  constructor(
    url: URL,
    protocol: string | undefined,
    private readonly handlers: LeanHandlers,
  ) {
    this.socket = socketTo(url);
    this.socket.on("data", (bytes: Buffer) => this.onData(bytes));
    this.socket.once("error", (error: NodeJS.ErrnoException) => {
      this.ended = { code: noCloseFrame, reason: error.code ?? error.message };
    });
    this.socket.once("close", () => handlers.onClose(this.ended));
    this.socket.write(upgradeRequest(url, protocol));
  }

  /** At most 64 KiB. */
  send(payload: Uint8Array): void {
    this.socket.write(clientFrame(payload));
  }

  sendText(text: string): void {
    this.socket.write(clientFrame(Buffer.from(text), textOpcode));
  }

  /** Behind what was sent; the other end hangs up. */
  close(code: number): void {
    const payload = Buffer.allocUnsafe(2);
    payload.writeUInt16BE(code, 0);
    this.socket.end(clientFrame(payload, closeOpcode));
  }

  destroy(): void {
    this.socket.destroy();
  }

  /** As when the way to the server breaks: a reset, and nothing said before. */
  cut(): void {
    this.socket.resetAndDestroy();
  }

  private onData(bytes: Buffer): void {
    let data = bytes;
    if (this.rest !== undefined) {
      data = Buffer.concat([this.rest, bytes]);
      this.rest = undefined;
    }
    const taken = this.isOpen ? this.takeFrames(data, 0) : this.takeUpgrade(data);
    // A copy: what is left over is small, and the chunk that it lies in is not.
    if (taken < data.length) this.rest = Buffer.from(data.subarray(taken));
  }

  private takeUpgrade(data: Buffer): number {
    const end = data.indexOf(headerEnd);
    if (end < 0) return 0;
    const head = data.toString("latin1", 0, end + 2);
    if (!head.startsWith("HTTP/1.1 101")) {
      this.ended = refusalIn(head);
      this.socket.destroy();
      return data.length;
    }
    this.isOpen = true;
    this.handlers.onOpen();
    return this.takeFrames(data, end + headerEnd.length);
  }

  /** Where the first incomplete frame begins. */
  private takeFrames(data: Buffer, start: number): number {
    let at = start;
    while (at + 2 <= data.length) {
      const { headBytes, payloadBytes } = frameSize(data, at);
      const end = at + headBytes + payloadBytes;
      if (headBytes === 0 || end > data.length) break;
      this.onFrame((data[at] ?? 0) & 0x0f, data.subarray(at + headBytes, end));
      at = end;
    }
    return at;
  }

  private onFrame(opcode: number, payload: Buffer): void {
    if (opcode === binaryOpcode || opcode === textOpcode) {
      this.handlers.onFrame(payload);
    } else if (opcode === closeOpcode) {
      const code = payload.length < 2 ? noCloseFrame : payload.readUInt16BE(0);
      this.ended = { code, reason: payload.toString("utf8", 2) };
      this.socket.destroy();
    }
  }
}

function socketTo({ protocol, hostname, port }: URL): Socket {
  const place = { host: hostname, port: Number(port) };
  if (protocol !== "wss:") return connect({ ...place, noDelay: true });
  // One for all: each by itself would be most of what a handshake costs here.
  secureContext ??= createSecureContext();
  return connectTls({ ...place, rejectUnauthorized: false, secureContext }).setNoDelay(true);
}

let secureContext: SecureContext | undefined;

/** Of an answer's head that is no upgrade. */
export function refusalIn(head: string): LeanEnd {
  const reason = head.slice(0, head.indexOf("\r\n"));
  const [, retryAfter] = retryAfterHeader.exec(head) ?? [];
  return { code: noCloseFrame, reason, ...(retryAfter === undefined ? {} : { retryAfter }) };
}

export function endLine({ code, reason }: LeanEnd): string {
  return code === noCloseFrame ? reason : `closed ${code} ${reason}`;
}

function upgradeRequest(url: URL, protocol: string | undefined): string {
  const lines = [
    `GET ${url.pathname}${url.search} HTTP/1.1`,
    `Host: ${url.host}`,
    "Upgrade: websocket",
    "Connection: Upgrade",
    `Sec-WebSocket-Key: ${randomBytes(16).toString("base64")}`,
    "Sec-WebSocket-Version: 13",
    ...(protocol === undefined ? [] : [`Sec-WebSocket-Protocol: ${protocol}`]),
  ];
  return `${lines.join("\r\n")}\r\n\r\n`;
}

/** No bytes of head: it is not complete. */
export function frameSize(data: Buffer, at: number): { headBytes: number; payloadBytes: number } {
  const short = (data[at + 1] ?? 0) & 0x7f;
  if (short < 126) return { headBytes: 2, payloadBytes: short };
  const headBytes = short === 126 ? 4 : 10;
  if (at + headBytes > data.length) return { headBytes: 0, payloadBytes: 0 };
  const payloadBytes =
    short === 126 ? data.readUInt16BE(at + 2) : Number(data.readBigUInt64BE(at + 2));
  return { headBytes, payloadBytes };
}

export function clientFrame(payload: Uint8Array, opcode = binaryOpcode): Buffer {
  const isShort = payload.length < 126;
  const headBytes = isShort ? 6 : 8;
  const frame = Buffer.allocUnsafe(headBytes + payload.length);
  frame[0] = 0x80 | opcode;
  frame[1] = 0x80 | (isShort ? payload.length : 126);
  if (!isShort) frame.writeUInt16BE(payload.length, 2);
  frame.writeUInt32BE(0, headBytes - 4);
  frame.set(payload, headBytes);
  return frame;
}
