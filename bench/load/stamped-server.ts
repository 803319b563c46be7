/**
 * An edge's driver that sends stamped frames to many at a steady pace, and what the edge's
 * actors do with who does not read: closed above the bound of its unsent bytes.
 */
import { once } from "node:events";
import { createServer as createHttpServer } from "node:http";
import type { AddressInfo } from "node:net";
import { defaultLimits } from "../../actors/limits.js";
import { NetEdge } from "../../src/drivers/net-edge.js";
import type { ConnectionId } from "../../src/ports/edge-transport.js";
import { sharedMs } from "../harness/latency.js";
import { serve } from "../harness/worker-process.js";

export interface StampedPlan {
  /** To so many of those who connected first. */
  readonly fast: number;
  /** And to all who connected behind the first `firstSlow`. */
  readonly firstSlow: number;
  readonly bodyBytes: number;
  readonly frames: number;
  readonly everyMs: number;
}

export interface SlowNow {
  readonly slow: number;
  /** Of those, beyond what their kernels took. */
  readonly backedUp: number;
}

const open: ConnectionId[] = [];
const closeCode = 4000;
let edge: NetEdge | undefined;

function ignore(): void {
  // Clients say nothing.
}

serve({
  async start(): Promise<number> {
    const server = createHttpServer();
    const started = new NetEdge({ server, path: "/connect", closeDeadlineMs: 500 });
    edge = started;
    server.listen({ port: 0, host: "127.0.0.1", backlog: 4_096 });
    await once(server, "listening");
    await started.listen({
      onUpgrade: () => undefined,
      onOpen: (connection) => void open.push(connection),
      onMessage: ignore,
      onClose: (connection) => {
        const at = open.indexOf(connection);
        if (at >= 0) open.splice(at, 1);
      },
    });
    return (server.address() as AddressInfo).port;
  },
  count: () => open.length,
  /** Bytes that stand before all else, so that who reads slowly is behind from the start. */
  burden({ firstSlow, bytes }: { readonly firstSlow: number; readonly bytes: number }): void {
    const body = Buffer.alloc(bytes);
    for (const connection of open.slice(firstSlow)) edge?.send(connection, body, false);
  },
  fanOut,
  closeSlow(firstSlow: number): void {
    for (const connection of open.slice(firstSlow)) edge?.close(connection, closeCode, "");
  },
});

async function fanOut(plan: StampedPlan): Promise<SlowNow> {
  const slow = open.slice(plan.firstSlow);
  const to = [...open.slice(0, plan.fast), ...slow];
  const startMs = performance.now();
  for (let frame = 0; frame < plan.frames; frame++) {
    const dueMs = startMs + frame * plan.everyMs;
    await untilMs(dueMs);
    const body = Buffer.alloc(plan.bodyBytes);
    // When it was due, not when it left: a stall counts for all that it delayed.
    body.writeDoubleBE(sharedMs() - performance.now() + dueMs);
    edge?.sendToMany(to, body, false);
    for (const connection of to) {
      const buffered = edge?.bufferedBytes(connection) ?? 0;
      if (buffered > defaultLimits.connectionBufferBytesMax) edge?.close(connection, closeCode, "");
    }
  }
  const backedUp = slow.filter((connection) => (edge?.bufferedBytes(connection) ?? 0) > 0);
  return { slow: slow.length, backedUp: backedUp.length };
}

function untilMs(atMs: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, Math.max(0, atMs - performance.now())));
}
