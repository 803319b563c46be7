/** Clients that read stamped frames as they come and note how late each is, or 1 KB a second. */
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { Latencies, type LatencySummary, sharedMs } from "../harness/latency.js";
import { serve } from "../harness/worker-process.js";

export interface StampedReaders {
  readonly port: number;
  readonly count: number;
  /** 1 KB a second. */
  readonly isSlow: boolean;
  readonly bodyBytes: number;
}

const upgrade =
  "GET /connect HTTP/1.1\r\nHost: edge\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
  "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
const frameHeadBytes = 4;
const stampBytes = 8;
const slowBytes = 1_024;
const slowEveryMs = 1_000;

const latencies = new Latencies();
const sockets: Socket[] = [];

serve({
  async open(readers: StampedReaders): Promise<void> {
    for (let at = 0; at < readers.count; at++) await openOne(readers);
  },
  reset: () => latencies.reset(),
  summary: (): LatencySummary => latencies.summary(),
});

async function openOne({ port, isSlow, bodyBytes }: StampedReaders): Promise<void> {
  // A reader that is slow has no more room than what it reads at once.
  const onread = isSlow ? { buffer: Buffer.alloc(slowBytes), callback: () => false } : undefined;
  const socket = connect({ port, host: "127.0.0.1", ...(onread === undefined ? {} : { onread }) });
  socket.on("error", () => undefined);
  sockets.push(socket);
  await once(socket, "connect");
  socket.write(upgrade);
  if (isSlow) {
    const reading = setInterval(() => socket.resume(), slowEveryMs);
    socket.once("close", () => clearInterval(reading));
  } else {
    await once(socket, "data");
    readStamps(socket, frameHeadBytes + bodyBytes);
  }
}

function readStamps(socket: Socket, frameBytes: number): void {
  let rest: Buffer = Buffer.alloc(0);
  socket.on("data", (chunk: Buffer) => {
    const nowMs = sharedMs();
    const bytes = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
    let at = 0;
    for (; at + frameBytes <= bytes.length; at += frameBytes) {
      const stamp = bytes.subarray(at + frameHeadBytes, at + frameHeadBytes + stampBytes);
      latencies.record(nowMs - stamp.readDoubleBE());
    }
    rest = Buffer.from(bytes.subarray(at));
  });
}
