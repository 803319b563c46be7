/** What is only structural in the SDK fits the real thing: `ws` and nats-core. */
import { deepEqual, equal, ok } from "node:assert/strict";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { after, before, describe, test } from "node:test";
import type { NatsConnection } from "@nats-io/transport-node";
import { WebSocket, WebSocketServer } from "ws";
import { createDevice, type DeviceMessage } from "../../src/client/device-client.js";
import { memoryStorage } from "../../src/client/platform.js";
import type { ServiceConnection } from "../../src/client/service-client.js";
import { wsSocket } from "../../src/client/ws-socket.js";
import { packValue, unpackValue } from "../../src/protocol/codec.js";
import { attachedFrame, encodeFrame, messageFrame } from "../../src/protocol/frames.js";
import { tokenFor } from "./fake-edge.js";

// A connection of nats-core is one for the SDK: the compiler is the test.
const fits = (connection: NatsConnection): ServiceConnection => connection;
void fits;

let server: WebSocketServer;
let url: string;

before(async () => {
  server = new WebSocketServer({ port: 0, host: "127.0.0.1" });
  await new Promise((resolve) => server.once("listening", resolve));
  url = `ws://127.0.0.1:${(server.address() as AddressInfo).port}`;
});

after(() => {
  for (const client of server.clients) client.terminate();
  server.close();
});

for (const protocol of ["belfry.v1", "belfry.v1.json"] as const) {
  describe(`a device over a real WebSocket, ${protocol}`, () => {
    test("takes a message and acknowledges it", async () => {
      const isText = protocol === "belfry.v1.json";
      const acked = new Promise<unknown>((resolve) => {
        server.once("connection", (socket) => {
          equal(socket.protocol, protocol);
          socket.on("message", (data: Buffer) => {
            const frame = (isText ? JSON.parse(data.toString()) : unpackValue(data)) as unknown[];
            if (frame[0] === 2) return resolve(frame);
            const info = { app: "demo", uid: "alice", device: "d", tokenExpiresAt: 2_000_000_000 };
            const record = Buffer.concat(["ID", null, { a: 1 }].map((value) => packValue(value)));
            for (const bytes of [
              encodeFrame(attachedFrame(0, { generation: 1, seq: 0 }, info), isText),
              messageFrame(0, 1, 1, 0, record, isText),
            ]) {
              socket.send(bytes, { binary: !isText });
            }
          });
        });
      });
      const taken: DeviceMessage[] = [];
      const device = createDevice({
        url,
        protocol,
        socket: WebSocket,
        storage: memoryStorage(),
        getToken: async () => tokenFor("alice"),
        onMessage: (message) => void taken.push(message),
      });
      device.connect();
      deepEqual(await acked, [2, 0, 1, 1]);
      deepEqual(taken[0]?.body, { a: 1 });
      device.close();
    });
  });
}

describe("a device without an edge to reach", () => {
  test("waits, and is closed while its socket still opens", async () => {
    let toldWaiting = (): void => {};
    const waiting = new Promise<void>((resolve) => {
      toldWaiting = resolve;
    });
    const device = createDevice({
      url: "ws://127.0.0.1:1",
      socket: WebSocket,
      storage: memoryStorage(),
      getToken: async () => tokenFor("alice"),
      onMessage: () => {},
      onState: ({ name }) => void (name === "waiting" && toldWaiting()),
    });
    device.connect();
    await waiting;
    device.connect();
    await new Promise((resolve) => setImmediate(resolve));
    device.close();
    equal(device.state.name, "idle");
  });
});

test("a handshake that is refused with Retry-After is not repeated before", async () => {
  const refusing = createServer((_request, response) => response.end());
  refusing.on("upgrade", (_request, socket) => {
    socket.end("HTTP/1.1 503 Service Unavailable\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n");
  });
  await new Promise<void>((resolve) => refusing.listen(0, "127.0.0.1", resolve));
  try {
    const waiting = new Promise<number>((resolve) => {
      const device = createDevice({
        url: `ws://127.0.0.1:${(refusing.address() as AddressInfo).port}`,
        socket: wsSocket(WebSocket),
        storage: memoryStorage(),
        getToken: async () => tokenFor("alice"),
        onMessage: () => {},
        onState: (state) => {
          if (state.name !== "waiting") return;
          resolve(state.retryInMs);
          device.close();
        },
      });
      device.connect();
    });
    const retryInMs = await waiting;
    // What was left of it when it was read; its own first waits are below a second.
    ok(retryInMs >= 4_000, `${retryInMs} ms`);
  } finally {
    refusing.close();
  }
});
