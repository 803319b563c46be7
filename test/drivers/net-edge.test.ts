/**
 * What only the driver on Node's own sockets has to do: its deadline for handshakes beside
 * an HTTP server's own, and TLS.
 */
import assert from "node:assert/strict";
import { once } from "node:events";
import type { Server } from "node:http";
import { createServer as createTlsServer, request } from "node:https";
import { type AddressInfo, connect, type Socket } from "node:net";
import { afterEach, describe, test } from "node:test";
import { connect as connectTls } from "node:tls";
import { WebSocket } from "ws";
import { NetEdge } from "../../src/drivers/net-edge.js";
import type { NetEdgeOptions } from "../../src/drivers/net-edge-options.js";
import { createHttpServer } from "../../src/main/http.js";
import type { ConnectionId } from "../../src/ports/edge-transport.js";
import { makeCertificate } from "../support/certificate.js";
import { closeAll } from "../support/open-sockets.js";
import { eachByte } from "../support/recording-reader.js";
import { Scratch } from "../support/scratch.js";
import { until } from "../support/until.js";

/** Above what a busy machine takes from this process at a time: who is quick is not to be late. */
const deadlineMs = 1_500;
const goneMsMax = 40_000;
const upgradeStart = "GET /connect HTTP/1.1\r\nHost: edge\r\nConnection: Upgrade\r\n";
const upgrade =
  `${upgradeStart}Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n` +
  "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

function echo(edge: NetEdge) {
  const opened: ConnectionId[] = [];
  const closed: ConnectionId[] = [];
  const handlers = {
    onUpgrade: () => undefined,
    onOpen: (connection: ConnectionId) => void opened.push(connection),
    onMessage: (connection: ConnectionId, bytes: Uint8Array, isText: boolean) =>
      edge.send(connection, Uint8Array.from(bytes), isText),
    onClose: (connection: ConnectionId) => void closed.push(connection),
  };
  return { opened, closed, handlers };
}

async function listen(server: Server): Promise<number> {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return (server.address() as AddressInfo).port;
}

function socketCount(server: Server): Promise<number> {
  return new Promise((resolve) => server.getConnections((_, count) => resolve(count)));
}

describe("edge on Node's sockets", () => {
  const servers: Server[] = [];
  const peers: Socket[] = [];

  afterEach(() => closeAll(peers, servers));

  async function startPlain(bounds: Partial<NetEdgeOptions> = {}) {
    const health = () => ({ isHealthy: true, text: "ok" });
    const server = createHttpServer({ health, socketsMax: 500, requestDeadlineMs: deadlineMs });
    servers.push(server);
    const closeDeadlineMs = deadlineMs;
    const options = { closeDeadlineMs, handshakeDeadlineMs: deadlineMs, ...bounds };
    const edge = new NetEdge({ server, path: "/connect", ...options });
    const told = echo(edge);
    const port = await listen(server);
    await edge.listen(told.handlers);
    return { server, edge, port, ...told };
  }

  function peer(port: number, bytes: string | Buffer = ""): Socket {
    const socket = connect({ port, host: "127.0.0.1", allowHalfOpen: true, noDelay: true });
    socket.on("error", () => undefined);
    socket.write(bytes);
    peers.push(socket);
    return socket;
  }

  const slow: readonly (readonly [what: string, bytes: string, isEnded?: boolean])[] = [
    ["say nothing", ""],
    ["send a byte", "G"],
    ["never end their head", upgradeStart],
    ["send their FIN within their head", upgradeStart, true],
    ["send their FIN at once", "", true],
    ["send a plain request and stay", "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"],
    ["send a plain request and no body", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n"],
    ["upgrade, ask to close, and stay", `${upgrade}\x88\x80\0\0\0\0`],
    ["upgrade, break the protocol, and stay", `${upgrade}\xff\xff`],
    ["upgrade and send their FIN", upgrade, true],
    ["speak no HTTP", "\x16\x03\x01\x02\x00\x01"],
  ];
  for (const [what, bytes, isEnded] of slow) {
    test(`holds no socket of 50 peers that ${what}`, async () => {
      const { server, edge, port, opened, closed } = await startPlain();
      let accepted = 0;
      server.on("connection", () => accepted++);
      for (let at = 0; at < 50; at++) {
        const socket = peer(port, Buffer.from(bytes, "latin1")).pause();
        if (isEnded === true) socket.end();
      }
      await until("all have come", () => accepted === 50);
      await until("no socket is left", async () => (await socketCount(server)) === 0, goneMsMax);
      await until("each end is told", () => closed.length === opened.length);
      assert.equal(edge.connectionCount, 0);
    });
  }

  test("ends a peer that sends its head byte by byte, in time but without end", async () => {
    const { server, port, opened } = await startPlain();
    const socket = peer(port, upgradeStart).resume();
    const dripping = setInterval(() => socket.write("a"), deadlineMs / 20);
    // With what it sent unread its end may be a reset.
    await until("it is ended", () => socket.readableEnded || socket.destroyed, goneMsMax);
    clearInterval(dripping);
    await until("no socket is left", async () => (await socketCount(server)) === 0, goneMsMax);
    assert.deepEqual(opened, []);
  });

  test("holds so many handshakes at once: who waits longest gives way, and the next comes in", async () => {
    const late = { handshakeDeadlineMs: 60_000, handshakesMax: 20 };
    const { edge, server, port, opened } = await startPlain(late);
    let accepted = 0;
    server.on("connection", () => accepted++);
    for (let at = 0; at < 100; at++) peer(port, upgradeStart);
    await until("all have come", () => accepted === 100);
    await until("the first are gone", async () => (await socketCount(server)) === 20, goneMsMax);
    const { handshakes, handshakesDisplaced, handshakesOverdue } = edge.figures();
    assert.deepEqual([handshakes, handshakesDisplaced, handshakesOverdue], [20, 80, 0]);
    const ws = new WebSocket(`ws://127.0.0.1:${port}/connect`, "belfry.v1");
    await once(ws, "open");
    assert.equal(opened.length, 1);
    ws.terminate();
  });

  test("lets as many handshakes wait as there is room for connections", async () => {
    const late = { handshakeDeadlineMs: 60_000, handshakesMax: 10, connectionsMax: 40 };
    const { edge, port, opened } = await startPlain(late);
    for (let at = 0; at < 20; at++) peer(port, upgrade);
    await until("they are open", () => opened.length === 20);
    for (let at = 0; at < 30; at++) peer(port, upgradeStart);
    await until("they wait", () => edge.figures()["handshakes"] === 30);
    assert.equal(edge.figures()["handshakesDisplaced"], 0);
    for (let at = 0; at < 5; at++) peer(port, upgradeStart);
    await until("the first give way", () => edge.figures()["handshakesDisplaced"] === 5);
    assert.equal(edge.figures()["handshakes"], 30);
  });

  test("counts what it refuses and drops below the protocol", async () => {
    const { edge, server, port } = await startPlain();
    peer(port, upgrade.replace("13", "8"));
    peer(port, upgrade.replace("GET /connect", "GET /nowhere"));
    peer(port, upgrade.replace("Host", "Ho st"));
    await until("they are refused", () => edge.figures()["requestsRefused"] === 3);
    peer(port, upgradeStart);
    await until("one is overdue", () => edge.figures()["handshakesOverdue"] === 1);
    server.maxConnections = 1;
    for (let at = 0; at < 5; at++) peer(port, upgrade);
    await until("some are dropped", () => (edge.figures()["socketsDropped"] ?? 0) >= 4);
  });

  test("holds no more of unfinished messages than its budget, and all others are served", async () => {
    const heldBytesMax = 256 * 1024;
    const { edge, port, opened, closed } = await startPlain({ heldBytesMax });
    const started = Buffer.concat([
      Buffer.from(upgrade, "latin1"),
      Buffer.from("82ff000000000010000000000000", "hex"),
      Buffer.alloc(50_000),
    ]);
    const ended: string[] = [];
    for (let at = 0; at < 20; at++) {
      const chunks: Buffer[] = [];
      const socket = peer(port, started).on("data", (chunk: Buffer) => chunks.push(chunk));
      socket.on("end", () => ended.push(Buffer.concat(chunks).subarray(-4).toString("hex")));
    }
    await until("all have come", () => opened.length === 20);
    await until(
      "who had no room is gone",
      () => closed.length > 0 && closed.length === ended.length,
    );
    assert.ok((edge.figures()["heldBytes"] ?? 0) <= heldBytesMax);
    assert.deepEqual(new Set(ended), new Set(["880203f5"]));
    assert.ok(closed.length < 20, "some had room");

    const ws = new WebSocket(`ws://127.0.0.1:${port}/connect`, "belfry.v1");
    await once(ws, "open");
    const answered = once(ws, "message");
    ws.send("served");
    assert.equal(String((await answered)[0]), "served");
    ws.terminate();
    for (const each of peers.splice(0)) each.destroy();
    await until("nothing is held any more", () => edge.figures()["heldBytes"] === 0);
  });

  test("keeps no more for those who do not read than its budget: the longest behind goes", async () => {
    const unsentBytesMax = 8 * 1024 * 1024;
    const { edge, port, opened, closed } = await startPlain({ unsentBytesMax });
    const reader = new WebSocket(`ws://127.0.0.1:${port}/connect`, "belfry.v1");
    await once(reader, "open");
    let bytesRead = 0;
    reader.on("message", (bytes: Buffer) => {
      bytesRead += bytes.length;
    });
    for (let at = 0; at < 6; at++) {
      peer(port, upgrade).pause();
      await until("it is open", () => opened.length === at + 2);
    }
    const [reading, ...stuck] = opened;
    assert.ok(reading !== undefined);
    // Beyond what kernels take between two sockets.
    const frame = Buffer.alloc(1024 * 1024);
    let bytesSent = 0;
    while (closed.length < 3) {
      edge.send(reading, frame, false);
      bytesSent += frame.length;
      for (const connection of stuck) edge.send(connection, frame, false);
      await until("the reader has it", () => bytesRead === bytesSent);
      assert.ok((edge.figures()["unsentBytes"] ?? 0) <= unsentBytesMax);
    }
    assert.ok(closed.every((connection) => stuck.includes(connection)));
    assert.equal(edge.figures()["unsentDisplaced"], closed.length);
    for (const each of peers.splice(0)) each.destroy();
    await until("nothing is left of them", () => edge.figures()["unsentBytes"] === 0);
    assert.deepEqual([edge.figures()["behind"], edge.connectionCount], [0, 1]);
    reader.terminate();
  });

  test("reads who sends too fast no faster than it may, and loses none of it", async () => {
    const framesRate = { perSecond: 1_000, burst: 100 };
    const { edge, port, opened } = await startPlain({ framesRate });
    const [heavy, other] = await Promise.all(
      [1, 2].map(async () => {
        const ws = new WebSocket(`ws://127.0.0.1:${port}/connect`, "belfry.v1");
        await once(ws, "open");
        return ws;
      }),
    );
    assert.ok(heavy !== undefined && other !== undefined && opened.length === 2);
    const told: string[] = [];
    heavy.on("message", (bytes) => told.push(String(bytes)));
    const startMs = performance.now();
    const sent = Array.from({ length: 500 }, (_, at) => `${at}`);
    for (const each of sent) heavy.send(each);
    await until("it is slowed", () => edge.figures()["slowedNow"] === 1);
    const answered = once(other, "message");
    other.send("not slowed");
    await answered;
    heavy.send("last");
    await until("all is there", () => told.length === 501, goneMsMax);
    assert.deepEqual(told, [...sent, "last"]);
    // 400 above its burst at 1,000 a second; a busy machine takes longer, never less.
    assert.ok(performance.now() - startMs >= 400);
    await until("it is read again", () => edge.figures()["slowedNow"] === 0);

    for (const each of sent) heavy.send(each);
    await until("it is slowed again", () => edge.figures()["slowedNow"] === 1);
    const ended = once(heavy, "close");
    for (const connection of opened) edge.close(connection, 4000, "GOING_AWAY");
    assert.equal((await ended)[0], 4000);
    await until("it is forgotten", () => edge.connectionCount === 0);
    assert.equal(edge.figures()["slowedNow"], 0);
  });

  test("answers a head that is too large", async () => {
    const { port } = await startPlain();
    const socket = peer(port, `${upgradeStart}X: ${"x".repeat(17_000)}`);
    const [answer] = await once(socket, "data");
    assert.match(String(answer), /^HTTP\/1\.1 431 /);
  });

  describe("under TLS", () => {
    async function startTls() {
      await using scratch = await Scratch.create("edge-tls");
      const { key, cert } = await makeCertificate(scratch.folder);
      const server = createTlsServer({ key, cert, handshakeTimeout: deadlineMs }, (_, response) =>
        response.end("plain"),
      );
      servers.push(server);
      const edge = new NetEdge({ server, path: "/connect", closeDeadlineMs: deadlineMs });
      const told = echo(edge);
      const port = await listen(server);
      await edge.listen(told.handlers);
      return { server, edge, port, ca: cert, ...told };
    }

    test("carries messages both ways, large ones too, and closes", async () => {
      const { edge, port, ca, opened, closed } = await startTls();
      const ws = new WebSocket(`wss://127.0.0.1:${port}/connect`, "belfry.v1", { ca });
      await once(ws, "open");
      assert.equal(ws.protocol, "belfry.v1");
      for (const sent of ["hi", "x".repeat(300_000)]) {
        const answered = once(ws, "message");
        ws.send(sent);
        assert.equal(String((await answered)[0]), sent);
      }
      const [connection] = opened;
      assert.ok(connection !== undefined);
      const ended = once(ws, "close");
      edge.close(connection, 4000, "GOING_AWAY");
      assert.deepEqual((await ended).map(String), ["4000", "GOING_AWAY"]);
      await until("it is told", () => closed.length === 1, goneMsMax);
      assert.equal(edge.connectionCount, 0);
    });

    test("leaves plain requests to the server", async () => {
      const { port, ca } = await startTls();
      const asking = request({ port, host: "127.0.0.1", path: "/", ca, agent: false }).end();
      const [response] = await once(asking, "response");
      assert.equal(String((await once(response, "data"))[0]), "plain");
    });

    test("holds no socket of peers that stop within a handshake or break off", async () => {
      const { server, port, ca, edge, opened } = await startTls();
      peer(port);
      peer(port, "\x16\x03\x01\x02\x00\x01");
      peer(port, "GET / HTTP/1.1\r\n\r\n");
      const inner = connectTls({ port, host: "127.0.0.1", ca });
      inner.on("error", () => undefined);
      for (const byte of eachByte(Buffer.from(upgrade))) inner.write(byte);
      await until("the good one is open", () => opened.length === 1);
      inner.end();
      await until("no socket is left", async () => (await socketCount(server)) === 0, goneMsMax);
      assert.equal(edge.connectionCount, 0);
      inner.destroy();
    });
  });
});
