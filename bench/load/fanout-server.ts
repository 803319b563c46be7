/**
 * Writes one ready frame to many sockets, in turns by three servers of one process: bare
 * sockets, the edge's driver, and `ws` corked as an edge on it would be. In one process,
 * so that they have the same heap, the same compiler and the same moment of the machine.
 */
import { once } from "node:events";
import { createServer as createHttpServer } from "node:http";
import { type AddressInfo, createServer, type Server, type Socket } from "node:net";
import { type WebSocket, WebSocketServer } from "ws";
import { NetEdge } from "../../src/drivers/net-edge.js";
import { encodeFrame, opcodes } from "../../src/drivers/ws-frames.js";
import type { ConnectionId } from "../../src/ports/edge-transport.js";
import { serve } from "../harness/worker-process.js";

export type Way = "bare" | "edge" | "ws";

export interface FanoutPlan {
  readonly way: Way;
  readonly bodyBytes: number;
  /** How often all are written to, each time when the kernel has all of the time before. */
  readonly turns: number;
  /** To each socket. */
  readonly framesPerTurn: number;
}

export interface FanoutCost {
  readonly frames: number;
  readonly wallUs: number;
  /** Of this process. */
  readonly cpuUs: number;
}

const sockets: Readonly<Record<Way, Socket[]>> = { bare: [], edge: [], ws: [] };
const connections: ConnectionId[] = [];
const websockets: WebSocket[] = [];
let edge: NetEdge | undefined;

function ignore(): void {
  // Clients say nothing, and a socket's error is followed by its close.
}

serve({
  /** Returns the ports. */
  async start(): Promise<Record<Way, number>> {
    const bareServer = createServer({ noDelay: true }, (socket) => {
      socket.on("data", ignore);
      socket.on("error", ignore);
    });
    return {
      bare: await listen(bareServer, "bare"),
      edge: await startEdge(),
      ws: await startWs(),
    };
  },
  counts: (): Record<Way, number> => ({
    bare: sockets.bare.length,
    edge: connections.length,
    ws: websockets.length,
  }),
  fanOut,
});

async function startEdge(): Promise<number> {
  const server = createHttpServer();
  const started = new NetEdge({ server, path: "/connect", closeDeadlineMs: 1_000 });
  edge = started;
  const port = await listen(server, "edge");
  await started.listen({
    onUpgrade: () => undefined,
    onOpen: (connection) => void connections.push(connection),
    onMessage: ignore,
    onClose: ignore,
  });
  return port;
}

async function startWs(): Promise<number> {
  const server = createHttpServer();
  const upgrading = new WebSocketServer({ server, perMessageDeflate: false });
  upgrading.on("connection", (ws) => {
    ws.on("message", ignore);
    ws.on("error", ignore);
    websockets.push(ws);
  });
  return await listen(server, "ws");
}

async function listen(server: Server, way: Way): Promise<number> {
  server.on("connection", (socket: Socket) => sockets[way].push(socket));
  server.listen({ port: 0, host: "127.0.0.1", backlog: 4_096 });
  await once(server, "listening");
  return (server.address() as AddressInfo).port;
}

async function fanOut(plan: FanoutPlan): Promise<FanoutCost> {
  const body = Buffer.alloc(plan.bodyBytes, 7);
  const ready = encodeFrame(opcodes.binary, body);
  const to = sockets[plan.way];
  const cpuBefore = process.cpuUsage();
  const startMs = performance.now();
  for (let turn = 0; turn < plan.turns; turn++) {
    for (let at = 0; at < plan.framesPerTurn; at++) sendAll(plan.way, body, ready);
    if (plan.way === "ws") for (const socket of to) socket.uncork();
    // The edge writes at the end of the turn; all wait for it.
    do await new Promise((resolve) => setImmediate(resolve));
    while (to.some(({ writableLength }) => writableLength > 0));
  }
  const wallUs = (performance.now() - startMs) * 1_000;
  const { user, system } = process.cpuUsage(cpuBefore);
  const frames = to.length * plan.turns * plan.framesPerTurn;
  return { frames, wallUs, cpuUs: user + system };
}

function sendAll(way: Way, body: Buffer, ready: Buffer): void {
  if (way === "bare") {
    for (const socket of sockets.bare) socket.write(ready);
  } else if (way === "edge") {
    edge?.sendToMany(connections, body, false);
  } else {
    for (const [at, ws] of websockets.entries()) {
      const socket = sockets.ws[at];
      if (socket?.writableCorked === 0) socket.cork();
      ws.send(body, { binary: true });
    }
  }
}
