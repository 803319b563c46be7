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
import { encodeFrame, opcodes } from "../../src/drivers/ws-frames.js";
import {
  type ConnectionId,
  type EdgeTransport,
  type Handshake,
  type HandshakeRefusal,
  type HandshakeTurn,
  type Subprotocol,
  slotOf,
  type TransportHandlers,
} from "../../src/ports/edge-transport.js";
import { until } from "../support/until.js";
import { FramingRecorder, framingContract } from "./edge-framing.js";

/** Above what a busy machine takes from this process at a time: who is quick is not to be late. */
const closeDeadlineMs = 500;
const handshakeDeadlineMs = 1_500;
/** Far below the heartbeat's: what is gone by then went by a deadline of the edge's own. */
const goneMsMax = 25_000;
/** More than the kernel holds between two sockets. */
const large = Buffer.alloc(64 * 1024 * 1024);
/** Masked by zeros: a text frame that says "hi". */
const hi = Buffer.from([0x81, 0x82, 0, 0, 0, 0, 0x68, 0x69]);

export interface EdgeOptions {
  readonly server: Server;
  readonly path: string;
  readonly closeDeadlineMs: number;
  readonly handshakeDeadlineMs: number;
}

export type MakeEdge = (options: EdgeOptions) => EdgeTransport;

class RecordedTurn implements HandshakeTurn {
  readonly calls: string[] = [];
  takenAfterMs = 0;
  private readonly sinceMs = performance.now();

  constructor(
    readonly waitMs: number,
    private readonly refusal: HandshakeRefusal | undefined,
  ) {}

  take(): HandshakeRefusal | undefined {
    this.calls.push("take");
    this.takenAfterMs = performance.now() - this.sinceMs;
    return this.refusal;
  }

  leave(): void {
    this.calls.push("leave");
  }
}

class Recorder implements TransportHandlers {
  handshake: Handshake | undefined;
  refusal: HandshakeRefusal | undefined;
  /** Of the next handshakes: how long each waits, and what it is told then. */
  waitMs: number | undefined;
  readonly turns: RecordedTurn[] = [];
  readonly opened: ConnectionId[] = [];
  readonly protocols: Subprotocol[] = [];
  readonly drained: ConnectionId[] = [];
  readonly messages: string[] = [];
  readonly closed: ConnectionId[] = [];

  onUpgrade(handshake: Handshake): HandshakeRefusal | HandshakeTurn | undefined {
    this.handshake = handshake;
    if (this.waitMs === undefined) return this.refusal;
    const turn = new RecordedTurn(this.waitMs, this.refusal);
    this.turns.push(turn);
    return turn;
  }

  onOpen(connection: ConnectionId, protocol: Subprotocol): void {
    this.opened.push(connection);
    this.protocols.push(protocol);
  }

  onMessage(_connection: ConnectionId, bytes: Uint8Array): void {
    this.messages.push(Buffer.from(bytes).toString());
  }

  onDrain(connection: ConnectionId): void {
    this.drained.push(connection);
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
      // So late that what ends here was ended and not given up.
      const late = { closeDeadlineMs: 60_000, handshakeDeadlineMs: 60_000 };
      edge = makeEdge({ server, path: "/connect", ...late });
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
    function peer(bytes: string | Buffer): Socket {
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

    /** A peer that is connected and reads what comes behind the upgrade's answer. */
    async function reading() {
      const count = handlers.opened.length;
      const socket = peer(upgrade("/connect"));
      const chunks: Buffer[] = [];
      await once(socket, "data");
      socket.on("data", (chunk: Buffer) => chunks.push(chunk));
      const connection = await until("it is open", () => handlers.opened[count]);
      return { socket, connection, received: () => Buffer.concat(chunks) };
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

    test("asks whose turn has come, in order, none before its time, and opens it", async () => {
      const answers = [60, 60, 120].map((waitMs) => {
        handlers.waitMs = waitMs;
        return answerTo(upgrade("/connect"));
      });
      for (const answer of await Promise.all(answers)) assert.match(answer, /^HTTP\/1\.1 101 /);
      assert.deepEqual(
        handlers.turns.map(({ calls }) => calls),
        [["take"], ["take"], ["take"]],
      );
      // Timers may come up to a millisecond early.
      for (const { waitMs, takenAfterMs } of handlers.turns) assert.ok(takenAfterMs >= waitMs - 1);
      assert.equal(handlers.opened.length, 3);
      assert.equal(edge.connectionCount, 3);
    });

    test("reads what a peer said while it waited once it is let in", async () => {
      handlers.waitMs = 50;
      const socket = peer(Buffer.concat([Buffer.from(upgrade("/connect")), hi]));
      await until("it waits", () => handlers.turns.length === 1);
      assert.deepEqual([handlers.opened, handlers.messages], [[], []]);
      socket.write(hi);
      await until("both are told", () => handlers.messages.length === 2);
      assert.deepEqual(handlers.messages, ["hi", "hi"]);
    });

    test("refuses whose turn says so", async () => {
      handlers.waitMs = 20;
      handlers.refusal = full;
      assert.match(await answerTo(upgrade("/connect")), /^HTTP\/1\.1 503 .*full$/s);
      await untilNoSocket();
      assert.deepEqual(handlers.turns[0]?.calls, ["take"]);
    });

    for (const [how, go] of [
      ["resets", (socket: Socket) => socket.resetAndDestroy()],
      ["sends its FIN", (socket: Socket) => socket.end()],
    ] as const) {
      test(`gives up the turn of a peer that ${how} while it waits`, async () => {
        handlers.waitMs = 60_000;
        const socket = peer(upgrade("/connect"));
        const turn = await until("it waits", () => handlers.turns[0]);
        go(socket);
        await until("its turn is given up", () => turn.calls.length > 0);
        await untilNoSocket();
        assert.deepEqual(turn.calls, ["leave"]);
        assert.deepEqual(handlers.opened, []);
      });
    }

    test("refuses those who wait, the first ones first, and all when it listens no more", async () => {
      handlers.waitMs = 60_000;
      const asked: Promise<string>[] = [];
      for (const count of [1, 2, 3]) {
        asked.push(answerTo(upgrade("/connect")));
        await until("it waits", () => handlers.turns.length === count);
      }
      assert.equal(edge.refuseWaiting(full, 2), 2);
      for (const answer of await Promise.all(asked.slice(0, 2))) {
        assert.match(answer, /^HTTP\/1\.1 503 .*Retry-After: 5\r\n.*full$/s);
      }
      assert.deepEqual(
        handlers.turns.map(({ calls }) => calls),
        [["leave"], ["leave"], []],
      );
      await edge.stopListening();
      assert.match((await asked[2]) ?? "", /^HTTP\/1\.1 503 /);
      assert.equal(edge.refuseWaiting(full, 2), 0);
      await untilNoSocket();
    });

    test("lets in who waited though silent peers came meanwhile", async () => {
      handlers.waitMs = handshakeDeadlineMs * 2;
      const answer = answerTo(upgrade("/connect"));
      await until("it waits", () => handlers.turns.length === 1);
      for (let at = 0; at < 50; at++) peer("GET /connect HT");
      assert.match(await answer, /^HTTP\/1\.1 101 /);
      assert.deepEqual(handlers.turns[0]?.calls, ["take"]);
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
      socket.write(hi);
      await until("the first is told", () => handlers.messages.length === 1);
      edge.close(connection, 4000, "GOING_AWAY");
      edge.close(connection, 4000, "GOING_AWAY");
      socket.write(hi);
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

    test("tells who wants to connect as the request says it", async () => {
      const from = { Origin: "https://shop.example", "X-Forwarded-For": "203.0.113.9, 10.0.0.1" };
      peer(upgrade("/connect?x=1", from));
      await opened();
      const remoteAddress = "127.0.0.1";
      const origin = "https://shop.example";
      assert.deepEqual(handlers.handshake, {
        remoteAddress,
        origin,
        forwardedFor: "203.0.113.9, 10.0.0.1",
      });
      peer(upgrade("/connect"));
      await until("the second is open", () => handlers.opened.length === 2);
      assert.deepEqual(handlers.handshake, {
        remoteAddress,
        origin: undefined,
        forwardedFor: undefined,
      });
    });

    for (const [offered, chosen] of [
      ["belfry.v1", "belfry.v1"],
      ["belfry.v1.json", "belfry.v1.json"],
      ["other, belfry.v1.json , belfry.v1", "belfry.v1"],
      ["other", undefined],
      ["BELFRY.V1", undefined],
    ] as const) {
      test(`chooses ${chosen ?? "nothing"} of ${offered}`, async () => {
        const answer = await answerTo(upgrade("/connect", { "Sec-WebSocket-Protocol": offered }));
        assert.match(answer, /^HTTP\/1\.1 101 /);
        const [, told] = /\r\nSec-WebSocket-Protocol: (.*)\r\n/.exec(answer) ?? [];
        assert.equal(told, chosen);
        await opened();
        assert.deepEqual(handlers.protocols, [chosen ?? "belfry.v1"]);
      });
    }

    test("takes an upgrade on a socket that plain requests came over", async () => {
      const socket = peer("GET /a HTTP/1.1\r\nHost: edge\r\n\r\n");
      assert.match(String((await once(socket, "data"))[0]), /^HTTP\/1\.1 200 .*plain$/s);
      socket.write(Buffer.concat([Buffer.from(upgrade("/connect")), hi]));
      assert.match(String((await once(socket, "data"))[0]), /^HTTP\/1\.1 101 /);
      const connection = await opened();
      await until("the message is told", () => handlers.messages.length === 1);
      socket.end();
      await untilClosed(connection);
    });

    test("leaves plain requests to the server, in any pieces", async () => {
      for (const pieces of [
        ["GET /a HTTP/1.1\r\nHost: edge\r\n\r\n"],
        ["G", "ET /a HT", "TP/1.1\r\nHost: edge\r\n\r", "\n"],
        ["POST /a HTTP/1.1\r\nHost: edge\r\nContent-Length: 3\r\n\r\n", "a", "bc"],
        ["GET /a HTTP/1.1\r\nHost: edge\r\nUpgrade: websocket\r\n\r\n"],
      ]) {
        const socket = peer("");
        const answered = once(socket, "data");
        for (const piece of pieces) {
          socket.write(piece);
          await new Promise((resolve) => setImmediate(resolve));
        }
        assert.match(String((await answered)[0]), /^HTTP\/1\.1 200 .*plain$/s);
        socket.destroy();
      }
      assert.deepEqual(handlers.opened, []);
    });

    test("sends what one turn brings in order, large and small", async () => {
      const { connection, received } = await reading();
      const sent = [1, 125, 20_000, 126, 70_000, 0, 9].map((bytes, at) => Buffer.alloc(bytes, at));
      const wanted = Buffer.concat(sent.map((bytes) => encodeFrame(opcodes.binary, bytes)));
      for (const bytes of sent) edge.send(connection, bytes, false);
      assert.equal(edge.bufferedBytes(connection), wanted.length);
      await until("all came", () => received().length === wanted.length);
      assert.ok(received().equals(wanted));
      await until("none is left", () => edge.bufferedBytes(connection) === 0);
    });

    test("says when what had to wait is gone, and only then", async () => {
      const { socket, connection, received } = await reading();
      edge.send(connection, Buffer.from("small"), false);
      await until("it came", () => received().length > 0);
      assert.deepEqual(handlers.drained, []);
      for (const times of [1, 2]) {
        socket.pause();
        edge.send(connection, large, false);
        await until("it is stuck", () => edge.bufferedBytes(connection) > 0);
        socket.resume();
        await until("it is told", () => handlers.drained.length >= times, goneMsMax);
        assert.deepEqual(handlers.drained, Array(times).fill(connection));
        assert.equal(edge.bufferedBytes(connection), 0);
      }
    });

    test("sends one frame to many, and none to who is gone", async () => {
      const readers = [await reading(), await reading(), await reading()];
      readers[1]?.socket.resetAndDestroy();
      await until("one is gone", () => handlers.closed.length === 1);
      const connections = readers.map(({ connection }) => connection);
      edge.sendToMany(connections, Buffer.from("for all"), true);
      const texts = () => readers.map(({ received }) => received().toString("latin1"));
      await until("both have it", () => texts().join("").length >= 18);
      assert.deepEqual(texts(), ["\x81\x07for all", "", "\x81\x07for all"]);
    });

    test("knows how much came of a message that is not whole, and of no other's", async () => {
      const { socket, connection } = await reading();
      const other = await reading();
      const bytes = () => edge.unfinishedBytes(connection);
      assert.equal(bytes(), 0);
      // A binary frame of 40,000 bytes, masked by zeros, in pieces.
      const head = Buffer.from([0x82, 0xfe, 0x9c, 0x40, 0, 0, 0, 0]);
      socket.write(Buffer.concat([head, Buffer.alloc(10_000)]));
      await until("a part is there", () => bytes() >= 10_000);
      assert.ok(bytes() <= 10_008, `${bytes()}`);
      socket.write(Buffer.alloc(20_000));
      await until("more is there", () => bytes() >= 30_000);
      assert.equal(edge.unfinishedBytes(other.connection), 0);
      socket.write(Buffer.alloc(10_000));
      await until("it is told", () => handlers.messages.length === 1);
      assert.equal(bytes(), 0);
      // The first of two frames of one message, whole in itself: "hi" so far.
      socket.write(Buffer.from([0x01, 0x82, 0, 0, 0, 0, 0x68, 0x69]));
      await until("a fragment is there", () => bytes() >= 2);
      socket.write(Buffer.from([0x80, 0x81, 0, 0, 0, 0, 0x21]));
      await until("both are told as one", () => handlers.messages.length === 2);
      assert.deepEqual([handlers.messages[1], bytes()], ["hi!", 0]);
      socket.write(head);
      await until("the next has begun", () => bytes() > 0);
      socket.destroy();
      await until("it is gone", () => handlers.closed.length === 1);
      assert.equal(bytes(), 0);
    });

    test("sends nothing late to a slot's next tenant", async () => {
      const former = await reading();
      former.socket.end();
      await untilClosed(former.connection);
      const next = await reading();
      assert.equal(slotOf(next.connection), slotOf(former.connection));
      edge.send(former.connection, Buffer.from("late"), true);
      edge.close(former.connection, 4000, "late");
      edge.send(next.connection, Buffer.from("due"), true);
      await until("it has its own", () => next.received().length >= 5);
      assert.equal(next.received().toString("latin1"), "\x81\x03due");
    });

    test("tells the address it listens on", async () => {
      const { address } = server.address() as AddressInfo;
      assert.deepEqual(await edge.listen(handlers), { host: address, port });
    });
  });
}
