/** Sockets that proxies pass on to an edge, plain and under TLS: whose each one is. */
import assert from "node:assert/strict";
import { once } from "node:events";
import type { Server } from "node:http";
import {
  type AddressInfo,
  connect,
  createServer as createPlainServer,
  type Socket,
} from "node:net";
import { PassThrough } from "node:stream";
import { afterEach, before, describe, test } from "node:test";
import { connect as connectTls } from "node:tls";
import { AddressRanges } from "../../src/base/address-ranges.js";
import { NetEdge } from "../../src/drivers/net-edge.js";
import { ProxyGate } from "../../src/drivers/proxy-gate.js";
import { createHttpServer } from "../../src/main/http.js";
import type { Handshake } from "../../src/ports/edge-transport.js";
import { type Certificate, makeCertificate } from "../support/certificate.js";
import { closeAll } from "../support/open-sockets.js";
import { binaryHeader, overTcp4, overTcp6 } from "../support/proxy-headers.js";
import { eachByte } from "../support/recording-reader.js";
import { Scratch } from "../support/scratch.js";
import { until } from "../support/until.js";

/** Above what a busy machine takes from this process at a time: who is quick is not to be late. */
const deadlineMs = 1_500;
const goneMsMax = 40_000;
const line = Buffer.from("PROXY TCP4 203.0.113.9 10.0.0.1 4711 443\r\n");
const upgrade = Buffer.from(
  "GET /connect HTTP/1.1\r\nHost: edge\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
);
/** Masked by zeros: a text frame that says "hi". */
const hi = Buffer.from("8182000000006869", "hex");

describe("an edge behind proxies", () => {
  let certificate: Certificate;
  const servers: Server[] = [];
  const peers: Socket[] = [];

  before(async () => {
    await using scratch = await Scratch.create("proxy-gate");
    certificate = await makeCertificate(scratch.folder);
  });
  afterEach(() => closeAll(peers, servers));

  async function start({ isTls = false, trusts = "127.0.0.0/8", socketsMax = 100 } = {}) {
    const { cert, key } = certificate;
    const server = createHttpServer({
      health: () => ({ isHealthy: true, text: "ok" }),
      ...{ socketsMax: 500, requestDeadlineMs: deadlineMs },
      ...(isTls ? { tls: { cert, key, handshakeDeadlineMs: deadlineMs } } : {}),
    });
    servers.push(server);
    const trusted = AddressRanges.parse(trusts);
    assert.ok(trusted !== undefined);
    const gate = new ProxyGate({ trusted, deadlineMs, socketsMax });
    const deadlines = { closeDeadlineMs: deadlineMs, handshakeDeadlineMs: deadlineMs };
    const edge = new NetEdge({ server, path: "/connect", gate, ...deadlines });
    const shaken: Handshake[] = [];
    const messages: string[] = [];
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    await edge.listen({
      onUpgrade: (handshake) => void shaken.push(handshake),
      onOpen: () => undefined,
      onMessage: (_, bytes) => void messages.push(Buffer.from(bytes).toString()),
      onClose: () => undefined,
    });
    const { port } = server.address() as AddressInfo;
    return { server, gate, edge, port, shaken, messages };
  }

  function peer(port: number, ...pieces: readonly Uint8Array[]): Socket {
    const socket = connect({ port, host: "127.0.0.1", allowHalfOpen: true, noDelay: true });
    socket.on("error", () => undefined);
    for (const piece of pieces) socket.write(piece);
    peers.push(socket);
    return socket;
  }

  function socketCount(server: Server): Promise<number> {
    return new Promise((resolve) => server.getConnections((_, count) => resolve(count)));
  }

  const whole = Buffer.concat([line, upgrade, hi]);
  for (const [how, pieces, address] of [
    ["in one piece", [whole], "203.0.113.9"],
    ["in three", [line, upgrade, hi], "203.0.113.9"],
    ["byte by byte", eachByte(whole), "203.0.113.9"],
    ["in binary", [binaryHeader(0x21, 0x21, overTcp6, 40), upgrade, hi], "2001:db8:0:0:0:0:0:5"],
    [
      "in binary byte by byte",
      eachByte(Buffer.concat([binaryHeader(0x21, 0x11, overTcp4), upgrade, hi])),
      "203.0.113.9",
    ],
    ["as the proxy's own", [binaryHeader(0x20, 0, Buffer.alloc(0)), upgrade, hi], "127.0.0.1"],
  ] as const) {
    test(`knows a client that is told ${how}, and reads its first frame`, async () => {
      const { edge, gate, port, shaken, messages } = await start();
      const socket = peer(port, ...pieces);
      await until("its frame is there", () => messages.length === 1);
      assert.deepEqual([shaken[0]?.remoteAddress, messages], [address, ["hi"]]);
      socket.destroy();
      await until("it is gone", () => edge.connectionCount === 0);
      await until("nothing is kept of it", () => gate.known === 0);
    });
  }

  for (const how of ["at once", "in pieces"]) {
    test(`knows a client under TLS, its head and first bytes ${how}`, async () => {
      const { gate, port, shaken, messages } = await start({ isTls: true });
      const socket = peer(port);
      if (how === "at once") socket.cork();
      for (const piece of how === "at once" ? [line] : eachByte(line)) socket.write(piece);
      const inner = connectTls({ socket, ca: certificate.cert, host: "127.0.0.1" });
      inner.on("error", () => undefined);
      if (how === "at once") setImmediate(() => socket.uncork());
      inner.write(Buffer.concat([upgrade, hi]));
      await until("its frame is there", () => messages.length === 1);
      assert.deepEqual(
        shaken.map(({ remoteAddress }) => remoteAddress),
        ["203.0.113.9"],
      );
      inner.destroy();
      await until("nothing is kept of it", () => gate.known === 0);
    });
  }

  const forwarding = Buffer.from(
    String(upgrade).replace("\r\n\r\n", "\r\nX-Forwarded-For: 198.51.100.7\r\n\r\n"),
  );
  for (const [what, first, believed] of [
    ["UNKNOWN", Buffer.from("PROXY UNKNOWN\r\n"), undefined],
    ["LOCAL", binaryHeader(0x20, 0, Buffer.alloc(0)), undefined],
    ["of no family", binaryHeader(0x21, 0, Buffer.alloc(0)), undefined],
    ["its address", line, "198.51.100.7"],
  ] as const) {
    for (const isTls of [false, true]) {
      const how = `${what}${isTls ? ", under TLS" : ""}`;
      test(`tells X-Forwarded-For only of a client that the proxy names: ${how}`, async () => {
        const { port, shaken, messages } = await start({ isTls });
        const socket = peer(port, first);
        const inner = isTls
          ? connectTls({ socket, ca: certificate.cert, host: "127.0.0.1" })
          : socket;
        inner.on("error", () => undefined);
        inner.write(Buffer.concat([forwarding, hi]));
        await until("its frame is there", () => messages.length === 1);
        assert.deepEqual(
          shaken.map(({ forwardedFor }) => forwardedFor),
          [believed],
        );
        inner.destroy();
      });
    }
  }

  test("keeps a client whose place was another's that closes late", async () => {
    const trusted = AddressRanges.parse("127.0.0.0/8");
    assert.ok(trusted !== undefined);
    const gate = new ProxyGate({ trusted, deadlineMs, socketsMax: 10 });
    const server = createPlainServer(() => undefined);
    gate.standBefore(server);
    const [first, second] = ["192.0.2.1", "192.0.2.2"].map((address) => {
      // As the kernel gives a port anew while the old socket's close is still to be told.
      const place = { remoteAddress: "127.0.0.1", remotePort: 4711 };
      const socket = Object.assign(new PassThrough(), place) as unknown as Socket;
      server.emit("connection", socket);
      socket.write(`PROXY TCP4 ${address} 10.0.0.1 4711 443\r\n`);
      return socket;
    });
    assert.ok(first !== undefined && second !== undefined);
    await until("the later one is known", () => gate.addressOf(second) === "192.0.2.2");
    const closed = once(first, "close");
    first.destroy();
    await closed;
    assert.equal(gate.addressOf(second), "192.0.2.2");
    second.destroy();
    await until("nothing is kept of it", () => gate.known === 0);
  });

  test("serves plain requests through a proxy, and several on one socket", async () => {
    const { port } = await start();
    const socket = peer(port, line);
    const chunks: string[] = [];
    socket.on("data", (chunk) => chunks.push(String(chunk)));
    for (let count = 1; count <= 2; count++) {
      socket.write("GET /healthz HTTP/1.1\r\nHost: edge\r\n\r\n");
      await until(
        "it answers",
        () => chunks.join("").split("HTTP/1.1 200 OK").length === count + 1,
      );
    }
  });

  test("takes nobody's word but a trusted proxy's", async () => {
    const { port, shaken, edge } = await start({ trusts: "10.0.0.0/8" });
    const liar = peer(port, whole);
    const [answer] = await once(liar, "data");
    assert.match(String(answer), /^HTTP\/1\.1 400 /);
    peer(port, upgrade);
    await until("the honest one is in", () => edge.connectionCount === 1);
    assert.equal(shaken[0]?.remoteAddress, "127.0.0.1");
  });

  for (const [what, bytes, isEnded] of [
    ["say nothing", Buffer.alloc(0), false],
    ["begin without a head", upgrade, false],
    ["never end their head", line.subarray(0, 20), false],
    ["send their FIN within it", line.subarray(0, 20), true],
    ["send their head alone", line, false],
    ["send a head that is none", Buffer.from("PROXY TCP4 a b c d\r\n"), false],
  ] as const) {
    for (const isTls of [false, true]) {
      test(`holds no socket of 30 proxies that ${what}${isTls ? ", under TLS" : ""}`, async () => {
        const { server, gate, port, shaken } = await start({ isTls });
        let accepted = 0;
        server.on("connection", () => accepted++);
        for (let at = 0; at < 30; at++) {
          const socket = peer(port, bytes).pause();
          if (isEnded) socket.end();
        }
        await until("all have come", () => accepted === 30);
        await until("no socket is left", async () => (await socketCount(server)) === 0, goneMsMax);
        assert.equal(gate.refusals, bytes === line ? 0 : 30);
        assert.deepEqual(shaken, []);
        await until("nothing is kept of them", () => gate.known === 0);
      });
    }
  }

  test("waits for so many heads at once, and who waits longest gives way", async () => {
    const { gate, port, messages } = await start({ socketsMax: 10 });
    for (let at = 0; at < 25; at++) peer(port, line.subarray(0, 5));
    await until("the first are gone", () => gate.refusals >= 15);
    peer(port, whole);
    await until("the next one is in", () => messages.length === 1);
  });
});
