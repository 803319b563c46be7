/**
 * A process of peers that do an edge harm by what they leave out: none of them ever closes
 * its socket. Run as a child (bench/harness/worker-process).
 */
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import { serve } from "../../bench/harness/worker-process.js";
import { JwtTokens } from "../../src/drivers/jwt-tokens.js";
import { clientKinds, protocolVersion, serverKinds } from "../../src/protocol/frames.js";
import { app, secret } from "./platform.js";

export interface HostilePeers {
  readonly port: number;
  readonly isTls: boolean;
  readonly kind: PeerKind;
  readonly count: number;
  readonly localAddress: string;
}

/** So many of a user's devices may be connected. */
export const devicesPerUser = 20;
const openedAtOnce = 200;
const drippingMs = 200;
const opcodeText = 0x81;

const upgradeStart = "GET /connect HTTP/1.1\r\nHost: edge\r\nConnection: Upgrade\r\n";
const upgrade =
  `${upgradeStart}Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n` +
  "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: belfry.v1.json\r\n\r\n";
const attached = `[${serverKinds.attached},`;

/** What each does once its socket, or TLS, is there. */
const peerKinds = {
  "say nothing": (): void => undefined,
  "send their head byte by byte": (socket) => {
    socket.write(`${upgradeStart}X-Slow: `);
    const dripping = setInterval(() => socket.write("x"), drippingMs);
    socket.once("close", () => clearInterval(dripping));
  },
  "end their side within the head": (socket) => void socket.end(upgradeStart),
  "stop within a plain request": (socket) =>
    void socket.write("POST /edges HTTP/1.1\r\nHost: edge\r\nContent-Length: 5\r\n\r\n"),
  "read no answer to a plain request": (socket) =>
    void socket.write("GET /healthz HTTP/1.1\r\nHost: edge\r\n\r\n"),
  "read no refusal": (socket) => void socket.write(upgrade.replace("/connect", "/nowhere")),
  "send no hello": (socket) => void socket.write(upgrade),
  "end their side of a connection": async (socket, at) => {
    await attach(socket, at);
    socket.end();
  },
  "stop reading": attach,
} satisfies Record<string, (socket: Socket, at: number) => void | Promise<void>>;

export type PeerKind = keyof typeof peerKinds | "stop within TLS's handshake";

const tokens = new JwtTokens({ find: () => undefined });
const sockets: Socket[] = [];

export function userOf(at: number): string {
  return `hostile-${Math.floor(at / devicesPerUser)}`;
}

async function attach(socket: Socket, at: number): Promise<void> {
  const sub = userOf(at);
  const now = Date.now();
  const claims = { app, sub, exp: Math.floor(now / 1_000) + 3_600, jti: `${now}-${at}` };
  const token = await tokens.sign(claims, secret);
  const device = `device-${at % devicesPerUser}`;
  const hello = { v: protocolVersion, token, device, connect: now };
  socket.write(upgrade);
  socket.write(maskedByZeros(JSON.stringify([clientKinds.hello, hello])));
  let received = "";
  await new Promise<void>((resolve, reject) => {
    socket.once("close", () => reject(new Error(`closed before it was attached: ${received}`)));
    socket.on("data", (chunk: Buffer) => {
      received += chunk.toString("latin1");
      if (received.includes(attached)) resolve();
    });
    socket.resume();
  });
  socket.removeAllListeners("data");
  socket.pause();
}

function maskedByZeros(text: string): Buffer {
  const payload = Buffer.from(text);
  const head = Buffer.from([opcodeText, 0x80 | 126, payload.length >> 8, payload.length & 0xff]);
  return Buffer.concat([head, Buffer.alloc(4), payload]);
}

async function open(peers: HostilePeers, at: number): Promise<void> {
  const { port, isTls, kind, localAddress } = peers;
  const place = { port, host: "127.0.0.1", localAddress };
  const below = connect({ ...place, allowHalfOpen: true, noDelay: true });
  below.on("error", () => undefined);
  sockets.push(below);
  await once(below, "connect");
  if (kind === "stop within TLS's handshake") {
    below.write(Buffer.from("160301020001000001fc0303", "hex"));
    return;
  }
  const socket = isTls ? connectTls({ socket: below, rejectUnauthorized: false }) : below;
  if (isTls) {
    socket.on("error", () => undefined);
    await once(socket, "secureConnect");
  }
  socket.pause();
  await peerKinds[kind](socket, at);
}

serve({
  /** Resolves when each has done its part. */
  async open(peers: HostilePeers): Promise<void> {
    let next = 0;
    const openOnes = async () => {
      while (next < peers.count) await open(peers, next++);
    };
    await Promise.all(Array.from({ length: openedAtOnce }, openOnes));
  },
});
