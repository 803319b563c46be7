/**
 * One WebSocket to an edge, from its opening to its end: says hello, answers pings,
 * and ends itself when the attach does not come in time or the edge falls silent.
 *
 * Invariant: `onEnd` comes exactly once, and no frame after it.
 */
import type { Cancel, Clock } from "../base/clock.js";
import { clientFrameBytesMax, clientKinds, firstSession } from "../protocol/frames.js";
import type { DeviceSocket, DeviceSocketConstructor } from "./device-socket.js";
import { decodeServerFrame, encodeClientFrame, type ServerFrame } from "./server-frames.js";

/** What a client closes with; 3000-3999 are free for applications (RFC 6455, 7.4.2). */
export const clientCloseCodes = {
  DONE: 1000,
  BAD_SERVER_FRAME: 3001,
  EDGE_SILENT: 3002,
  HANDLER_FAILED: 3003,
  ATTACH_TIMEOUT: 3004,
  ATTACH_REFUSED: 3005,
  RECEIVING_BROKEN: 3006,
  NETWORK_CHANGED: 3007,
  TOLD_TO_MOVE: 3008,
  KICKED: 3009,
} as const;

/** Heartbeats without a sign of the edge until it counts as gone. */
const heartbeatsMissed = 2.5;
const heartbeatMsUntilTold = 30_000;
/** A timer later than this was held up by the platform. */
const lateMs = 2_000;
/** Then what waits to be read gets so long to show itself. */
const graceMs = 5_000;
const openState = 1;
const utf8 = new TextEncoder();

export interface ConnectionOptions {
  readonly socket: DeviceSocketConstructor;
  readonly url: string;
  readonly protocol: string;
  readonly clock: Clock;
  readonly attachTimeoutMs: number;
  /** The hello's map, made when the socket is open. */
  readonly hello: () => Record<string, unknown>;
  readonly silence: SilenceWatch;
  /** From now on `canTake` knows. */
  readonly onWelcome: () => void;
  readonly onFrame: (frame: SessionFrame) => void;
  readonly onEnd: (end: ConnectionEnd) => void;
}

export type SessionFrame = Exclude<ServerFrame, { kind: "welcome" | "ping" | "unknown" }>;

/** How the link bears its silences; each is told the interval that the edge keeps. */
export interface SilenceWatch {
  /** A ping came, `silenceMs` after what came before it. */
  onPing(silenceMs: number, intervalMs: number): void;
  /** Nothing came by the deadline; the connection ends. */
  onSilence(intervalMs: number): void;
}

export interface ConnectionEnd {
  readonly code: number;
  readonly reason: string;
  /** A server that refused the handshake asks to stay away for so long. */
  readonly retryAfterMs?: number;
}

export class EdgeConnection {
  private readonly socket: DeviceSocket;
  private readonly isText: boolean;
  private isEnded = false;
  private isWatching = false;
  private heartbeatMs = heartbeatMsUntilTold;
  private heardAtMs: number;
  private dueAtMs = 0;
  private isGraced = false;
  private cancelPlan: Cancel = () => {};
  private frameBytesMax = clientFrameBytesMax;
  private takes: readonly number[] = [];
  private cancelTimer: Cancel;

  /** Throws what the socket's constructor throws: for a URL that is none. */
  constructor(private readonly options: ConnectionOptions) {
    const { clock, socket: Socket, url, protocol, attachTimeoutMs } = options;
    this.isText = protocol.endsWith(".json");
    this.socket = new Socket(url, [protocol]);
    this.socket.binaryType = "arraybuffer";
    this.socket.onopen = () => this.onOpen();
    this.socket.onmessage = ({ data }) => this.onData(data);
    this.socket.onclose = (end) => this.finish(end);
    // A close always follows; without a listener `ws` would throw.
    this.socket.onerror = () => {};
    this.heardAtMs = clock.monotonicMs();
    this.cancelTimer = clock.after(attachTimeoutMs, () => {
      this.end(clientCloseCodes.ATTACH_TIMEOUT, "no attach in time");
    });
  }

  /** `too-large`: above what the edge takes, which would end the connection. */
  send(frame: readonly unknown[]): "sent" | "closed" | "too-large" {
    if (this.isEnded || this.socket.readyState !== openState) return "closed";
    const data = encodeClientFrame(frame, this.isText);
    const bytes = typeof data === "string" ? utf8.encode(data).length : data.length;
    if (bytes > this.frameBytesMax) return "too-large";
    this.socket.send(data);
    return "sent";
  }

  /** Whether this edge reads a kind of frame that not every edge reads. */
  canTake(kind: number): boolean {
    return this.takes.includes(kind);
  }

  /** The edge beats so from now on. */
  beatEvery(heartbeatMs: number): void {
    this.heartbeatMs = heartbeatMs;
    if (this.isWatching) this.watch();
  }

  /** Unless the connection ends before; a later plan takes an earlier one's place. */
  planIn(delayMs: number, plan: () => void): void {
    this.cancelPlan();
    if (!this.isEnded) this.cancelPlan = this.options.clock.after(delayMs, plan);
  }

  /** Does not wait for the edge's answer: a dead path would never give it. */
  end(code: number, reason: string): void {
    if (this.isEnded) return;
    this.socket.close(code, reason);
    this.finish({ code, reason });
  }

  private onOpen(): void {
    this.send([clientKinds.hello, this.options.hello()]);
  }

  private onData(data: unknown): void {
    if (this.isEnded) return;
    const nowMs = this.options.clock.monotonicMs();
    const silenceMs = nowMs - this.heardAtMs;
    this.heardAtMs = nowMs;
    this.isGraced = false;
    const frame = decodeServerFrame(data);
    if (frame === undefined) {
      this.end(clientCloseCodes.BAD_SERVER_FRAME, "a frame does not decode");
      return;
    }
    switch (frame.kind) {
      case "welcome":
        this.heartbeatMs = frame.welcome.heartbeatMs;
        this.frameBytesMax = frame.welcome.frameBytesMax ?? this.frameBytesMax;
        this.takes = frame.welcome.takes ?? [];
        this.options.onWelcome();
        return;
      case "ping":
        this.send([clientKinds.pong, frame.nonce]);
        this.options.silence.onPing(silenceMs, this.heartbeatMs);
        return;
      case "unknown":
        return;
      case "attached":
      case "ended":
        // Until the first session's fate is known, its deadline holds.
        if (frame.session === firstSession) {
          this.isWatching = true;
          this.watch();
        }
        this.options.onFrame(frame);
        return;
      default:
        this.options.onFrame(frame);
        return;
    }
  }

  /** One timer for the whole connection: it looks when the silence could be long enough. */
  private watch(): void {
    this.cancelTimer();
    const { clock, silence } = this.options;
    const nowMs = clock.monotonicMs();
    const leftMs = this.heardAtMs + heartbeatsMissed * this.heartbeatMs - nowMs;
    if (leftMs > 0) {
      this.lookIn(leftMs);
      return;
    }
    // Late: the page was frozen, or the machine slept, and what came meanwhile is not read yet.
    if (nowMs - this.dueAtMs > lateMs && !this.isGraced) {
      this.isGraced = true;
      this.lookIn(graceMs);
      return;
    }
    silence.onSilence(this.heartbeatMs);
    this.end(clientCloseCodes.EDGE_SILENT, "nothing heard from the edge");
  }

  private lookIn(delayMs: number): void {
    const { clock } = this.options;
    this.dueAtMs = clock.monotonicMs() + delayMs;
    this.cancelTimer = clock.after(delayMs, () => this.watch());
  }

  private finish(end: ConnectionEnd): void {
    if (this.isEnded) return;
    this.isEnded = true;
    this.cancelTimer();
    this.cancelPlan();
    this.options.onEnd(end);
  }
}
