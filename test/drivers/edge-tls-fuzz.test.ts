/**
 * An edge under TLS and peers whose bytes are no TLS, are TLS up to some byte, or are
 * generated frames within it: each socket ends, nothing is left of it, and no error is
 * anybody's but its own.
 *
 *   FUZZ_TLS=20000   how many of these
 */
import assert from "node:assert/strict";
import { once } from "node:events";
import type { Server } from "node:http";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { after, before, describe, test } from "node:test";
import { connect as connectTls } from "node:tls";
import fc from "fast-check";
import { WebSocket } from "ws";
import { NetEdge } from "../../src/drivers/net-edge.js";
import { createHttpServer } from "../../src/main/http.js";
import { upgradeRequest } from "../contract/edge-framing.js";
import { makeCertificate } from "../support/certificate.js";
import { sequences } from "../support/frame-sequences.js";
import { LeakWatch } from "../support/live-heap.js";
import { cutAt, RecordingReader } from "../support/recording-reader.js";
import { Scratch } from "../support/scratch.js";
import { until } from "../support/until.js";

const numRuns = Number(process.env["FUZZ_TLS"] ?? 400);
const atOnce = 8;
/** Mere patience: the edge's own deadlines are beyond it. */
const goneMsMax = 40_000;
/** Of generator, compiler and OpenSSL's own, however many there are. */
const grownBytesMax = 8 * 1024 * 1024;
const answerEnd = "\r\n\r\n";

type Play =
  | { readonly kind: "no TLS"; readonly bytes: Uint8Array; readonly cuts: readonly number[] }
  /** A client's first record with one byte changed, and cut off somewhere. */
  | { readonly kind: "half TLS"; readonly at: number; readonly by: number; readonly end: number }
  /** Behind a whole handshake, in the place of a record. */
  | { readonly kind: "no record"; readonly bytes: Uint8Array }
  | { readonly kind: "frames"; readonly bytes: Uint8Array; readonly cuts: readonly number[] };

const garbage = fc.uint8Array({ minLength: 1, maxLength: 600 });
const cuts = fc.array(fc.nat(600), { maxLength: 4 });
const play: fc.Arbitrary<Play> = fc.oneof(
  fc.record({ kind: fc.constant("no TLS" as const), bytes: garbage, cuts }),
  fc.record({
    kind: fc.constant("half TLS" as const),
    ...{ at: fc.nat(600), by: fc.integer({ min: 1, max: 255 }), end: fc.nat(600) },
  }),
  fc.record({ kind: fc.constant("no record" as const), bytes: garbage }),
  sequences.map(({ bytes, cuts }) => ({ kind: "frames" as const, bytes, cuts })),
);

/** What a client says first. */
async function clientHello(): Promise<Buffer> {
  const server = createServer();
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const client = connectTls({ port, host: "127.0.0.1", rejectUnauthorized: false });
  client.on("error", () => undefined);
  const [socket] = (await once(server, "connection")) as [Socket];
  const [hello] = (await once(socket, "data")) as [Buffer];
  socket.destroy();
  server.close();
  return hello;
}

describe("an edge under TLS", () => {
  let server: Server;
  let edge: NetEdge;
  let port: number;
  let hello: Buffer;
  let ca: string;

  before(async () => {
    await using scratch = await Scratch.create("edge-tls-fuzz");
    const { cert, key } = await makeCertificate(scratch.folder);
    ca = String(cert);
    hello = await clientHello();
    // So late that what ends was ended and not given up.
    const handshakeDeadlineMs = 60_000;
    server = createHttpServer({
      health: () => ({ isHealthy: true, text: "ok" }),
      ...{ socketsMax: 500, requestDeadlineMs: handshakeDeadlineMs },
      tls: { cert, key, handshakeDeadlineMs },
    });
    edge = new NetEdge({ server, path: "/connect", closeDeadlineMs: 60_000, handshakeDeadlineMs });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    ({ port } = server.address() as AddressInfo);
    const ignore = () => undefined;
    await edge.listen({ onUpgrade: ignore, onOpen: ignore, onMessage: ignore, onClose: ignore });
  });
  after(() => void server.close());

  async function write(socket: Socket, pieces: readonly Uint8Array[]): Promise<void> {
    for (const piece of pieces) {
      if (socket.writable) socket.write(piece);
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  async function playOne(play: Play): Promise<void> {
    const below = connect({ port, host: "127.0.0.1", noDelay: true });
    below.on("error", () => undefined);
    const ended = once(below, "close");
    await once(below, "connect");
    if (play.kind === "no TLS") {
      await write(below, cutAt(play.bytes, play.cuts));
      below.resume().end();
    } else if (play.kind === "half TLS") {
      const bytes = Buffer.from(hello);
      const at = play.at % bytes.length;
      bytes[at] = (bytes[at] ?? 0) ^ play.by;
      below.write(bytes.subarray(0, 1 + (play.end % bytes.length)));
      below.resume().end();
    } else {
      await playWithin(below, play);
    }
    await ended;
  }

  async function playWithin(
    below: Socket,
    play: Extract<Play, { readonly kind: "no record" | "frames" }>,
  ): Promise<void> {
    const socket = connectTls({ socket: below, ca, host: "127.0.0.1" });
    const chunks: Buffer[] = [];
    socket.on("error", () => undefined).on("data", (chunk: Buffer) => chunks.push(chunk));
    await once(socket, "secureConnect");
    socket.write(upgradeRequest);
    await until("it is in", () => Buffer.concat(chunks).includes(answerEnd));
    if (play.kind === "no record") {
      below.write(play.bytes);
      below.end();
      return;
    }
    const foretold = new RecordingReader().take([play.bytes]);
    await write(socket, cutAt(play.bytes, play.cuts));
    socket.end();
    await until("it is ended", () => socket.closed || socket.readableEnded, goneMsMax);
    const all = Buffer.concat(chunks);
    assert.equal(all.toString("hex", all.indexOf(answerEnd) + 4), foretold.output);
    socket.destroy();
  }

  test(`is left with nothing of ${numRuns} generated peers`, async (context) => {
    const leaks = new LeakWatch(numRuns);
    const played = new Map<string, number>();
    const groups = fc.array(play, { minLength: atOnce, maxLength: atOnce });
    const property = fc.asyncProperty(groups, async (group) => {
      await Promise.all(group.map(playOne));
      const open = () =>
        new Promise<number>((resolve) => server.getConnections((_, count) => resolve(count)));
      await until("no socket is left", async () => (await open()) === 0, goneMsMax);
      // Told a moment after the socket below is closed.
      await until("each end is told", () => edge.connectionCount === 0, goneMsMax);
      await until("none is known", () => {
        const { handshakes, handshakesUnderTls } = edge.figures();
        return handshakes === 0 && handshakesUnderTls === 0;
      });
      for (const { kind } of group) played.set(kind, (played.get(kind) ?? 0) + 1);
      leaks.note(atOnce);
    });
    await fc.assert(property, { numRuns: Math.ceil(numRuns / atOnce), endOnFailure: true });
    const grownBytes = leaks.grownBytes();
    context.diagnostic(`${JSON.stringify([...played])}; heap grown by ${grownBytes} bytes`);
    assert.ok(grownBytes < grownBytesMax, `${grownBytes} bytes are left`);
    const ws = new WebSocket(`wss://127.0.0.1:${port}/connect`, "belfry.v1", { ca });
    await once(ws, "open");
    ws.terminate();
  });
});
