/**
 * What every EdgeTransport keeps (src/ports/edge-transport.ts): whatever a peer does before,
 * during or without a handshake, its socket is gone by a deadline, and nothing is thrown; and
 * RFC 6455's framing by its vectors (websocket-vectors.ts). Run by one file a driver.
 *
 * The peers are bare sockets that never close from their side, since a client of a
 * library is too polite to find what is left open.
 */
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, type Server } from "node:http";
import { type AddressInfo, connect, type Socket } from "node:net";
import { after, afterEach, before, beforeEach, describe, test } from "node:test";
import { WebSocket } from "ws";
import type {
  ConnectionId,
  EdgeTransport,
  Handshake,
  HandshakeRefusal,
  TransportHandlers,
} from "../../src/ports/edge-transport.js";
import { until } from "../support/until.js";
import { FramingRecorder, framingContract } from "./edge-framing.js";

const closeDeadlineMs = 100;
const handshakeDeadlineMs = 200;
/** Far below the heartbeat's: what is gone by then went by a deadline of the edge's own. */
const goneMsMax = 5_000;
/** More than the kernel holds between two sockets. */
const large = Buffer.alloc(64 * 1024 * 1024);

export interface EdgeOptions {
  readonly server: Server;
  readonly path: string;
  readonly closeDeadlineMs: number;
  readonly handshakeDeadlineMs: number;
}

export type MakeEdge = (options: EdgeOptions) => EdgeTransport;

class Recorder implements TransportHandlers {
  handshake: Handshake | undefined;
  refusal: HandshakeRefusal | undefined;
  readonly opened: ConnectionId[] = [];
  readonly messages: string[] = [];
  readonly closed: ConnectionId[] = [];

  onUpgrade(handshake: Handshake): HandshakeRefusal | undefined {
    this.handshake = handshake;
    return this.refusal;
  }

  onOpen(connection: ConnectionId): void {
    this.opened.push(connection);
  }

  onMessage(_connection: ConnectionId, bytes: Uint8Array): void {
    this.messages.push(Buffer.from(bytes).toString());
  }

  onClose(connection: ConnectionId): void {
    this.closed.push(connection);
  }
}

/** `isStrict`: also where the RFC is stricter than the library `ws`. */
export function edgeTransportContract(name: string, isStrict: boolean, makeEdge: MakeEdge): void {
  describe(`edge framing: ${name}`, () => {
    const recorder = new FramingRecorder();
    let server: Server;
    let edge: EdgeTransport;
    let port: number;

    before(async () => {
      server = createServer();
      edge = makeEdge({
        server,
        path: "/connect",
        closeDeadlineMs,
        handshakeDeadlineMs: goneMsMax,
      });
      server.listen(0, "127.0.0.1");
      await once(server, "listening");
      ({ port } = await edge.listen(recorder));
    });
    after(() => server.close());

    const live = {
      get port() {
        return port;
      },
      get connectionCount() {
        return edge.connectionCount;
      },
    };
    framingContract({ edge: () => live, recorder: () => recorder }, isStrict);
  });

  describe(`edge transport: ${name}`, () => {
    let server: Server;
    let edge: EdgeTransport;
    let handlers: Recorder;
    let port: number;
    let peers: Socket[];
    let acceptedCount: number;

    beforeEach(async () => {
      peers = [];
      acceptedCount = 0;
      handlers = new Recorder();
      server = createServer((request, response) => {
        response.end(request.url === "/large" ? large : "plain");
      });
      server.on("connection", () => acceptedCount++);
      edge = makeEdge({ server, path: "/connect", closeDeadlineMs, handshakeDeadlineMs });
      server.listen(0, "127.0.0.1");
      await once(server, "listening");
      ({ port } = await edge.listen(handlers));
    });

    afterEach(() => {
      for (const peer of peers) peer.destroy();
      server.closeAllConnections();
      server.close();
    });

    /** A peer that says `bytes` and then neither reads nor closes, unless the test has it do so. */
    function peer(bytes: string): Socket {
      const socket = connect({ port, host: "127.0.0.1", allowHalfOpen: true });
      socket.on("error", () => undefined);
      socket.write(bytes);
      peers.push(socket);
      return socket;
    }

    function upgrade(target: string, changes: Readonly<Record<string, string>> = {}): string {
      const headers = {
        Host: "edge",
        Connection: "Upgrade",
        Upgrade: "websocket",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version": "13",
        ...changes,
      };
      const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}`);
      return [`GET ${target} HTTP/1.1`, ...lines, "", ""].join("\r\n");
    }

    function socketCount(): Promise<number> {
      return new Promise((resolve) => server.getConnections((_, count) => resolve(count)));
    }

    /** Of all that have come. */
    async function untilNoSocket(): Promise<void> {
      await until("all have come", () => acceptedCount === peers.length);
      await until("no socket is left", async () => (await socketCount()) === 0, goneMsMax);
    }

    /** Gone, told, and told once. */
    async function untilClosed(connection: ConnectionId): Promise<void> {
      await untilNoSocket();
      await until("the close is told", () => handlers.closed.length > 0, goneMsMax);
      assert.deepEqual(handlers.closed, [connection]);
      assert.equal(edge.connectionCount, 0);
    }

    async function answerTo(bytes: string): Promise<string> {
      const [answer] = await once(peer(bytes), "data");
      return String(answer);
    }

    async function opened(): Promise<ConnectionId> {
      return until("a connection is open", () => handlers.opened.at(-1), goneMsMax);
    }

    // `new URL("//", …)` threw in the listener: each request left a socket for ever.
    test("leaves nothing of 200 upgrades whose target is no URL", async () => {
      for (let at = 0; at < 200; at++) peer(upgrade("//"));
      await untilNoSocket();
      assert.match(await answerTo(upgrade("//")), /^HTTP\/1\.1 400 Bad Request\r\n/);
    });

    const wrongVersion = /^HTTP\/1\.1 (426|400) .*\r\nSec-WebSocket-Version: 13\b/s;
    const full: HandshakeRefusal = { status: 503, reason: "full", retryAfterSeconds: 5 };
    const refusals: readonly (readonly [what: string, bytes: string, answer: RegExp])[] = [
      ["another path", upgrade("/other"), /^HTTP\/1\.1 404 Not Found\r\n/],
      ["a target that is no URL", upgrade("http://[/"), /^HTTP\/1\.1 400 /],
      ["a key that is none", upgrade("/connect", { "Sec-WebSocket-Key": "x" }), /^HTTP\/1\.1 400 /],
      ["another protocol", upgrade("/connect", { Upgrade: "h2c" }), /^HTTP\/1\.1 400 /],
      ["another version", upgrade("/connect", { "Sec-WebSocket-Version": "1" }), wrongVersion],
      ["another method", upgrade("/connect").replace("GET", "PUT"), /^HTTP\/1\.1 405 /],
    ];
    for (const [what, bytes, answer] of refusals) {
      test(`refuses ${what} and ends the socket`, async () => {
        assert.match(await answerTo(bytes), answer);
        await untilNoSocket();
        assert.deepEqual(handlers.opened, []);
      });
    }

    test("refuses as the handler says, with when to come back", async () => {
      handlers.refusal = full;
      const answer = await answerTo(upgrade("/connect"));
      assert.match(answer, /^HTTP\/1\.1 503 Service Unavailable\r\n.*Retry-After: 5\r\n.*full$/s);
      await untilNoSocket();
    });

    for (const [what, bytes] of [
      ["the edge", upgrade("//")],
      ["the handshake", upgrade("/connect", { "Sec-WebSocket-Key": "x" })],
    ] as const) {
      test(`ends the socket of a peer that does not read its refusal by ${what}`, async () => {
        // The refusal stands behind an answer that the peer does not take.
        peer(`GET /large HTTP/1.1\r\nHost: edge\r\n\r\n${bytes}`).pause();
        await untilNoSocket();
      });
    }

    test("survives peers that reset during their handshake", async () => {
      for (let at = 0; at < 50; at++) {
        const target = ["//", "/other", "/connect"][at % 3] ?? "/";
        const socket = peer("");
        socket.write(upgrade(target), () => setImmediate(() => socket.resetAndDestroy()));
      }
      await until("all have reset", () => peers.every(({ destroyed }) => destroyed));
      await untilNoSocket();
      await until("each close is told", () => handlers.closed.length === handlers.opened.length);
      assert.equal(edge.connectionCount, 0);
    });

    test("ends a connection whose peer has sent its FIN and no close frame", async () => {
      const socket = peer(upgrade("/connect"));
      const connection = await opened();
      socket.end();
      await untilClosed(connection);
    });

    test("ends such a connection also when its peer takes nothing any more", async () => {
      const socket = peer(upgrade("/connect"));
      await once(socket, "data");
      const connection = await opened();
      socket.pause();
      edge.send(connection, large, false);
      await until("it is stuck", () => edge.bufferedBytes(connection) > 0);
      socket.end();
      await untilClosed(connection);
    });

    test("ends a connection that it closes by the deadline, whatever the peer does", async () => {
      peer(upgrade("/connect"));
      const connection = await opened();
      edge.close(connection, 4000, "GOING_AWAY");
      await untilClosed(connection);
    });

    test("tells nothing but the close after it has closed a connection", async () => {
      const socket = peer(upgrade("/connect"));
      const connection = await opened();
      // Masked by zeros: a text frame that says "hi".
      const frame = Buffer.from([0x81, 0x82, 0, 0, 0, 0, 0x68, 0x69]);
      socket.write(frame);
      await until("the first is told", () => handlers.messages.length === 1);
      edge.close(connection, 4000, "GOING_AWAY");
      edge.close(connection, 4000, "GOING_AWAY");
      socket.write(frame);
      await untilClosed(connection);
      assert.deepEqual(handlers.messages, ["hi"]);
    });

    test("refuses upgrades while it does not listen, and keeps the connections it has", async () => {
      const ws = new WebSocket(`ws://127.0.0.1:${port}/connect`);
      await once(ws, "open");
      const connection = await opened();
      await edge.stopListening();
      assert.match(await answerTo(upgrade("/connect")), /^HTTP\/1\.1 503 /);
      await until("the refused one is gone", async () => (await socketCount()) === 1);
      const received = once(ws, "message");
      edge.send(connection, Buffer.from("still here"), true);
      assert.equal(String((await received)[0]), "still here");
      await edge.listen(handlers);
      peer(upgrade("/connect"));
      await until("it takes them again", () => handlers.opened.length === 2);
      ws.terminate();
    });

    test("tells the address it listens on", async () => {
      const { address } = server.address() as AddressInfo;
      assert.deepEqual(await edge.listen(handlers), { host: address, port });
    });
  });
}
