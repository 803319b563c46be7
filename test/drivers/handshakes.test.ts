/**
 * Whoever stops on the way to a whole head, under TLS too, or behind a plain request, keeps
 * nobody out.
 */
import assert from "node:assert/strict";
import { once } from "node:events";
import type { Server } from "node:http";
import { type AddressInfo, connect, type Socket, type TcpNetConnectOpts } from "node:net";
import { afterEach, before, describe, test } from "node:test";
import { connect as connectTls } from "node:tls";
import { WebSocket } from "ws";
import { NetEdge } from "../../src/drivers/net-edge.js";
import type { NetEdgeOptions } from "../../src/drivers/net-edge-options.js";
import { createHttpServer, type Pages } from "../../src/main/http.js";
import { type Certificate, makeCertificate } from "../support/certificate.js";
import { closeAll } from "../support/open-sockets.js";
import { Scratch } from "../support/scratch.js";
import { until } from "../support/until.js";

const neverMs = 60_000;
const goneMsMax = 40_000;
const upgradeStart = "GET /connect HTTP/1.1\r\nHost: edge\r\nConnection: Upgrade\r\n";
const health = "GET /healthz HTTP/1.1\r\nHost: edge\r\n\r\n";
const upgrade =
  `${upgradeStart}Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n` +
  "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

describe("handshakes of an edge", () => {
  let certificate: Certificate;
  const servers: Server[] = [];
  const peers: Socket[] = [];

  before(async () => {
    await using scratch = await Scratch.create("handshakes");
    certificate = await makeCertificate(scratch.folder);
  });
  afterEach(() => closeAll(peers, servers));

  async function start(
    isTls: boolean,
    bounds: Partial<NetEdgeOptions> = {},
    pages?: Pages,
    host = "127.0.0.1",
  ) {
    const { cert, key } = certificate;
    const server = createHttpServer({
      health: () => ({ isHealthy: true, text: "ok" }),
      ...{ socketsMax: 40, requestDeadlineMs: neverMs },
      ...(pages === undefined ? {} : { pages }),
      ...(isTls ? { tls: { cert, key, handshakeDeadlineMs: neverMs } } : {}),
    });
    servers.push(server);
    const deadlines = { closeDeadlineMs: 200, handshakeDeadlineMs: neverMs };
    const edge = new NetEdge({ server, path: "/connect", ...deadlines, ...bounds });
    let came = 0;
    server.on("connection", () => came++).on("drop", () => came++);
    server.listen(0, host);
    await once(server, "listening");
    await edge.listen({
      onUpgrade: () => undefined,
      onOpen: () => undefined,
      onMessage: (connection, bytes) => edge.send(connection, Uint8Array.from(bytes), true),
      onClose: () => undefined,
    });
    const { port } = server.address() as AddressInfo;
    return { server, edge, port, cameSoFar: () => came };
  }

  function peer(port: number, bytes = "", place: Partial<TcpNetConnectOpts> = {}): Socket {
    const socket = connect({ port, host: "127.0.0.1", noDelay: true, ...place });
    socket.on("error", () => undefined);
    socket.write(bytes, "latin1");
    peers.push(socket);
    return socket;
  }

  function overTls(socket: Socket, bytes: string): Socket {
    const inner = connectTls({ socket, ca: certificate.cert, host: "127.0.0.1" });
    inner.on("error", () => undefined);
    if (bytes !== "") inner.write(bytes);
    return inner;
  }

  async function openWebSocket(port: number, isTls: boolean): Promise<WebSocket> {
    const url = `${isTls ? "wss" : "ws"}://127.0.0.1:${port}/connect`;
    const ws = new WebSocket(url, "belfry.v1", { ca: certificate.cert });
    await once(ws, "open");
    return ws;
  }

  async function echoes(ws: WebSocket, sent: string): Promise<void> {
    const answered = once(ws, "message");
    ws.send(sent);
    assert.equal(String((await answered)[0]), sent);
  }

  function socketCount(server: Server): Promise<number> {
    return new Promise((resolve) => server.getConnections((_, count) => resolve(count)));
  }

  for (const [what, isTls, bytes, within] of [
    ["say nothing", false, "", undefined],
    ["send a byte that is no GET", false, "P", undefined],
    ["never end the head of a plain request", false, "POST / HTTP/1.1\r\nHost: x\r\n", undefined],
    ["never end the head of an upgrade", false, upgradeStart, undefined],
    ["say nothing, under TLS", true, "", undefined],
    ["stop within TLS's handshake", true, "\x16\x03\x01\x02\x00\x01", undefined],
    ["say nothing within TLS", true, "", ""],
    ["never end the head of a plain request within TLS", true, "", "POST / HTTP/1.1\r\n"],
  ] as const) {
    test(`come through though more peers than there may be sockets ${what}`, async () => {
      const { server, edge, port, cameSoFar } = await start(isTls, { handshakesMax: 20 });
      for (let at = 0; at < 100; at++) {
        const socket = peer(port, bytes);
        if (within !== undefined) overTls(socket, within);
      }
      await until("all have come", () => cameSoFar() === 100);
      await until("so many wait", async () => (await socketCount(server)) === 20, goneMsMax);
      assert.equal(edge.figures()["handshakes"], 20);
      const ws = await openWebSocket(port, isTls);
      await echoes(ws, "in");
      ws.terminate();
      for (const each of peers.splice(0)) each.destroy();
      await until("none is left", () => edge.figures()["handshakes"] === 0);
      // A closed socket says its own address no more: by that they stayed known for ever.
      await until("none is known", () => edge.figures()["handshakesUnderTls"] === 0);
    });
  }

  for (const isTls of [false, true]) {
    const how = isTls ? ", under TLS" : "";

    test(`are over when they are done: a deadline later their connection is there${how}`, async () => {
      const { edge, port } = await start(isTls, { handshakeDeadlineMs: 2_000 });
      const ws = await openWebSocket(port, isTls);
      assert.equal(edge.figures()["handshakes"], 0);
      peer(port);
      await until("who came later is overdue", () => edge.figures()["handshakesOverdue"] === 1);
      await echoes(ws, "still here");
      ws.terminate();
    });

    test(`take no turn from requests that are whole${how}`, async () => {
      const held: (() => void)[] = [];
      const pages: Pages = async (_path, _request, response) => {
        held.push(() => response.end("at last"));
      };
      const { edge, port } = await start(isTls, { handshakesMax: 1 }, pages);
      const socket = peer(port);
      const inner = isTls ? overTls(socket, "") : socket;
      const chunks: string[] = [];
      inner.on("data", (chunk) => chunks.push(String(chunk)));
      inner.write("GET /slow HTTP/1.1\r\nHost: edge\r\n\r\n");
      await until("it is asked", () => held.length === 1);
      assert.equal(edge.figures()["handshakes"], 0);
      for (let at = 0; at < 5; at++) peer(port, "P");
      await until("others give way", () => edge.figures()["handshakesDisplaced"] === 4);
      for (const answer of held) answer();
      await until("it is answered", () => chunks.join("").includes("at last"));
      inner.write(health);
      await until("it is served on", () => chunks.join("").includes("ok\n"));
      inner.write(upgrade);
      await until("it is upgraded", () => edge.connectionCount === 1);
    });
  }

  test("of one port to two of the node's addresses are told apart, under TLS", async () => {
    const { edge, port } = await start(true, {}, undefined, "0.0.0.0");
    const from = { localAddress: "127.0.0.1" };
    const first = peer(port, "", from);
    await once(first, "connect");
    const localPort = first.localPort ?? 0;
    const second = peer(port, "", { ...from, localPort, host: "127.0.0.2" });
    await until("both are under way", () => edge.figures()["handshakes"] === 2);
    for (const [at, socket] of [second, first].entries()) {
      overTls(socket, upgrade);
      await until("it is in", () => edge.connectionCount === at + 1);
      assert.equal(edge.figures()["handshakes"], 1 - at);
    }
  });

  test("come through on a socket whose head the HTTP server read", async () => {
    const { edge, port } = await start(false);
    // Empty lines before a request are the HTTP server's to pass over.
    const socket = peer(port, "\r\n");
    await until("it is under way", () => edge.figures()["handshakes"] === 1);
    socket.write(upgrade);
    await until("it is in", () => edge.connectionCount === 1);
    assert.equal(edge.figures()["handshakes"], 0);
  });

  for (const isTls of [false, true]) {
    const how = isTls ? ", under TLS" : "";
    const large = Buffer.alloc(16 * 1024 * 1024);
    const sendLarge: Pages = async (_path, _request, response) => void response.end(large);

    function ask(port: number, bytes: string): Socket {
      const socket = peer(port);
      if (!isTls) socket.write(bytes);
      const inner = isTls ? overTls(socket, bytes) : socket;
      return inner.pause();
    }

    for (const [what, bytes] of [
      ["stay", health],
      ["read nothing of their answer", "GET /large HTTP/1.1\r\nHost: edge\r\n\r\n"],
      ["send no body", "POST /large HTTP/1.1\r\nHost: edge\r\nContent-Length: 9\r\n\r\n"],
    ] as const) {
      test(`come through though too many who sent a plain request ${what}${how}`, async () => {
        const bounds = { askingMax: 10, handshakesMax: 20, askingDeadlineMs: neverMs };
        const { server, edge, port } = await start(isTls, bounds, sendLarge);
        for (let at = 0; at < 30; at++) ask(port, bytes);
        await until("they give way", () => edge.figures()["askingDisplaced"] === 20);
        await until("so many are left", async () => (await socketCount(server)) === 10, goneMsMax);
        assert.equal(edge.figures()["asking"], 10);
        const [answer] = await once(ask(port, health).resume(), "data");
        assert.match(String(answer), /^HTTP\/1\.1 200 /);
        const ws = await openWebSocket(port, isTls);
        await echoes(ws, "in");
        ws.terminate();
        for (const each of peers.splice(0)) each.destroy();
        await until("none is left", () => edge.figures()["asking"] === 0);
      });
    }

    test(`leave no socket of who takes a plain answer piece by piece${how}`, async () => {
      const bounds = { askingDeadlineMs: 500 };
      const { server, edge, port } = await start(isTls, bounds, sendLarge);
      const socket = ask(port, "GET /large HTTP/1.1\r\nHost: edge\r\n\r\n");
      const taking = setInterval(() => socket.read(1_000), 20);
      await until("it is overdue", () => edge.figures()["askingOverdue"] === 1, goneMsMax);
      await until("it is gone", async () => (await socketCount(server)) === 0, goneMsMax);
      clearInterval(taking);
    });
  }

  test("of who asks again come last to give way", async () => {
    const { edge, port } = await start(false, { askingMax: 2, askingDeadlineMs: neverMs });
    const asking = (count: number) => () => edge.figures()["asking"] === count;
    const first = peer(port, health);
    await until("the first asks", asking(1));
    const second = peer(port, health);
    await until("the second asks", asking(2));
    await once(first, "data");
    const again = once(first, "data");
    first.write(health);
    await again;
    const ended = once(second.resume(), "close");
    peer(port, health);
    await ended;
    assert.equal(first.closed, false);
  });
});
