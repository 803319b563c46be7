/**
 * The node's HTTP server: what it answers, and that strangers hold nothing open
 * beyond its bounds. The peers are bare sockets that never close by themselves.
 */
import assert from "node:assert/strict";
import { once } from "node:events";
import type { Server } from "node:http";
import { type AddressInfo, connect, type Socket } from "node:net";
import type { Duplex } from "node:stream";
import { afterEach, beforeEach, describe, test } from "node:test";
import { WebSocket } from "ws";
import { NetEdge } from "../../src/drivers/net-edge.js";
import { createHttpServer, type HttpOptions, type Pages } from "../../src/main/http.js";
import { until } from "../support/until.js";

/** Above what a busy machine takes from this process at a time: who is quick is not to be late. */
const requestDeadlineMs = 1_000;
const socketsMax = 20;
/** Below Node's own check every 30 s: what is gone by then went by our bounds. */
const goneMsMax = 40_000;
/** More than the kernel holds between two sockets. */
const large = Buffer.alloc(64 * 1024 * 1024);

describe("HTTP server", () => {
  let server: Server;
  let isHealthy: boolean;
  let peers: Socket[];
  let acceptedCount: number;

  const pages: Pages = async (pathname, request, response) => {
    if (pathname === "/broken") throw new Error("a page that fails");
    for await (const _ of request);
    response.end(pathname === "/large" ? large : `page ${pathname}`);
  };

  beforeEach(() => start({ pages }));

  afterEach(stop);

  async function start(options: Partial<HttpOptions>): Promise<void> {
    isHealthy = true;
    peers = [];
    acceptedCount = 0;
    const bounds = { socketsMax, requestDeadlineMs };
    const health = () => ({ isHealthy, text: isHealthy ? "ok" : "unwell: slow" });
    server = createHttpServer({ health, ...bounds, ...options });
    server.on("connection", () => acceptedCount++);
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
  }

  function stop(): void {
    for (const each of peers) each.destroy();
    server.closeAllConnections();
    server.close();
  }

  function peer(bytes: string): Socket {
    const { port } = server.address() as AddressInfo;
    const socket = connect({ port, host: "127.0.0.1", allowHalfOpen: true });
    socket.on("error", () => undefined);
    socket.write(bytes);
    peers.push(socket);
    return socket;
  }

  async function untilNoSocket(): Promise<void> {
    await until("all have come", () => acceptedCount === peers.length);
    const count = () =>
      new Promise<number>((resolve) => server.getConnections((_, count) => resolve(count)));
    await until("no socket is left", async () => (await count()) === 0, goneMsMax);
  }

  async function answerTo(bytes: string): Promise<string> {
    return String((await once(peer(bytes), "data"))[0]);
  }

  function get(target: string): string {
    return `GET ${target} HTTP/1.1\r\nHost: node\r\n\r\n`;
  }

  test("answers for its health", async () => {
    assert.match(await answerTo(get("/healthz")), /^HTTP\/1\.1 200 .*\r\nok\n/s);
    isHealthy = false;
    assert.match(await answerTo(get("/healthz")), /^HTTP\/1\.1 503 .*\r\nunwell: slow\n/s);
  });

  test("leaves other paths to its pages, and answers for one that fails", async () => {
    assert.match(await answerTo(get("/demo/?q=1")), /^HTTP\/1\.1 200 .*page \/demo\//s);
    assert.match(await answerTo(get("/broken")), /^HTTP\/1\.1 500 /);
  });

  test("has nothing else where it has no pages", async () => {
    stop();
    await start({});
    assert.match(await answerTo(get("/demo/")), /^HTTP\/1\.1 404 /);
  });

  test("refuses a target that is no URL", async () => {
    assert.match(await answerTo(get("//")), /^HTTP\/1\.1 400 /);
  });

  const upgrade = "GET /connect HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n";
  const slow: readonly (readonly [what: string, bytes: string])[] = [
    ["says nothing", ""],
    ["never ends its headers", upgrade],
    ["never ends its body", "POST /demo/token HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{"],
    ["keeps its socket after an answer", get("/healthz")],
    ["reads nothing of its answer", get("/large")],
    ["wants a tunnel", "CONNECT node:443 HTTP/1.1\r\nHost: node\r\n\r\n"],
    ["speaks no HTTP", "\x16\x03\x01\x02\x00\x01"],
  ];
  for (const [what, bytes] of slow) {
    test(`ends a peer that ${what}`, async () => {
      peer(bytes).pause();
      await untilNoSocket();
    });
  }

  // Slowloris: each byte in time, the whole never.
  for (const [what, bytes] of [
    ["its headers", `${upgrade}X: `],
    ["its body", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999\r\n\r\n"],
  ] as const) {
    test(`ends a peer that sends ${what} byte by byte`, async () => {
      const socket = peer(bytes).resume();
      const dripping = setInterval(() => socket.write("a"), requestDeadlineMs / 10);
      await untilNoSocket();
      clearInterval(dripping);
    });
  }

  test("leaves an upgraded connection alone, however long it says nothing", async () => {
    const closeDeadlineMs = requestDeadlineMs;
    const deadlines = { closeDeadlineMs, handshakeDeadlineMs: requestDeadlineMs };
    const edge = new NetEdge({ server, path: "/connect", ...deadlines });
    const quiet = { onOpen: () => undefined, onMessage: () => undefined };
    const { port } = await edge.listen({
      ...quiet,
      onUpgrade: () => undefined,
      onClose: () => undefined,
    });
    const ws = new WebSocket(`ws://127.0.0.1:${port}/connect`);
    await once(ws, "open");
    // Each of these comes later and stays for a deadline.
    for (let at = 0; at < 3; at++) await once(peer("").resume(), "end");
    assert.equal(ws.readyState, WebSocket.OPEN);
    assert.equal(edge.connectionCount, 1);
    ws.terminate();
  });

  test("closes what comes above its bound of sockets, upgraded ones counted", async () => {
    const upgraded: Duplex[] = [];
    server.on("upgrade", (_, socket) => upgraded.push(socket));
    for (let at = 0; at < socketsMax; at++) peer(`${upgrade}\r\n`);
    await until("all are upgraded", () => upgraded.length === socketsMax);
    const oneMore = peer(get("/healthz")).resume();
    await until("it is closed", () => oneMore.readableEnded || oneMore.destroyed, goneMsMax);
    assert.equal(oneMore.bytesRead, 0);
    assert.equal(acceptedCount, socketsMax);
    for (const socket of upgraded) socket.destroy();
  });
});
