/**
 * RFC 6455's framing on a live edge, by raw sockets: each vector in one packet with the
 * upgrade, in one behind it, and in bytes of their own; then generated sequences, whose
 * outcome the frame reader without a socket foretells.
 *
 *   FUZZ_CONNECTIONS=100000   how many of these, each on a connection of its own
 */
import assert from "node:assert/strict";
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { test } from "node:test";
import fc from "fast-check";
import type { ConnectionId, TransportHandlers } from "../../src/ports/edge-transport.js";
import { sequences } from "../support/frame-sequences.js";
import { LeakWatch } from "../support/live-heap.js";
import { cutAt, eachByte, RecordingReader } from "../support/recording-reader.js";
import { until } from "../support/until.js";
import { readVectors, told, type WebSocketVector } from "./websocket-vectors.js";

export interface LiveEdge {
  readonly port: number;
  readonly connectionCount: number;
}

/** More than this is sent in pieces of more than a byte. */
const eachByteMax = 300;
const numRuns = Number(process.env["FUZZ_CONNECTIONS"] ?? 2_000);
/** Of the fuzzed connections at once. */
const atOnce = 16;
/** Mere patience: the edge's own deadlines are far beyond it. */
const goneMsMax = 40_000;
/** Of generator, compiler and sockets in their last turn, however many connections there are. */
const grownBytesMax = 8 * 1024 * 1024;

export const upgradeRequest = [
  "GET /connect HTTP/1.1",
  "Host: edge",
  "Connection: Upgrade",
  "Upgrade: websocket",
  "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
  "Sec-WebSocket-Version: 13",
  "",
  "",
].join("\r\n");
const upgradeAnswer =
  "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
  "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/** A zero mask: "done". Its answer says that all before it was taken. */
const lastPing = Buffer.from("898400000000646f6e65", "hex");
const lastPong = "8a04646f6e65";

/** What an edge told of each connection, in the order in which they opened. */
export class FramingRecorder implements TransportHandlers {
  readonly connections: Told[] = [];
  private readonly byId = new Map<ConnectionId, Told>();

  onUpgrade(): undefined {
    return undefined;
  }

  onOpen(connection: ConnectionId): void {
    const fresh: Told = { events: [], closed: [] };
    this.connections.push(fresh);
    this.byId.set(connection, fresh);
  }

  onMessage(connection: ConnectionId, bytes: Uint8Array, isText: boolean): void {
    this.byId.get(connection)?.events.push(told(bytes, isText));
  }

  onClose(connection: ConnectionId, code: number): void {
    const told = this.byId.get(connection);
    assert.ok(told !== undefined, "a close is told once, of a connection that was opened");
    this.byId.delete(connection);
    told.closed.push(code);
  }
}

interface Told {
  readonly events: string[];
  readonly closed: number[];
}

/** A peer that ends its side only when the test does, or after the edge. */
class RawPeer {
  private readonly chunks: Buffer[] = [];
  readonly socket: Socket;
  private hasEnded = false;

  constructor(port: number) {
    this.socket = connect({ port, host: "127.0.0.1", allowHalfOpen: true, noDelay: true });
    this.socket.on("data", (chunk: Buffer) => this.chunks.push(chunk));
    this.socket.on("error", () => undefined);
    this.socket.once("end", () => {
      this.hasEnded = true;
      this.socket.end();
    });
  }

  /** What came behind the answer to the upgrade. */
  get received(): string {
    const all = Buffer.concat(this.chunks);
    const answer = all.toString("latin1", 0, upgradeAnswer.length);
    assert.equal(answer, upgradeAnswer.slice(0, answer.length));
    return all.toString("hex", answer.length);
  }

  async write(pieces: readonly Uint8Array[]): Promise<void> {
    for (const piece of pieces) {
      if (!this.socket.writable) return;
      this.socket.write(piece);
      // A packet of its own; what was read of it by then does not matter.
      if (pieces.length > 1) await new Promise((resolve) => setImmediate(resolve));
    }
  }

  async untilEnded(): Promise<void> {
    await until("the edge ends it", () => this.hasEnded || this.socket.destroyed, goneMsMax);
  }
}

const upgradeBytes = Buffer.from(upgradeRequest);
const ways: readonly (readonly [how: string, cut: (input: Buffer) => Uint8Array[]])[] = [
  ["in the upgrade's packet", (input) => [Buffer.concat([upgradeBytes, input])]],
  ["behind the upgrade", (input) => [upgradeBytes, input]],
  ["byte by byte", (input) => [upgradeBytes, ...smallPieces(input)]],
  ["upgrade and all byte by byte", (input) => [...eachByte(upgradeBytes), ...smallPieces(input)]],
];

function smallPieces(input: Buffer): Uint8Array[] {
  return input.length <= eachByteMax ? eachByte(input) : cutAt(input, [1, 2, 5, 11, 200, 70_000]);
}

export interface Current {
  edge(): LiveEdge;
  recorder(): FramingRecorder;
}

/** `isStrict`: also where the RFC is stricter than the library `ws`. */
export function framingContract(current: Current, isStrict: boolean): void {
  for (const vector of readVectors()) {
    if (vector.isStrict && !isStrict) continue;
    test(vector.title, async () => {
      for (const [how, cut] of ways) await playVector(current, vector, how, cut(vector.input));
    });
  }

  // The reader that foretells is as strict.
  if (!isStrict) return;
  test(`comes to the foretold end of ${numRuns} generated sequences`, async (context) => {
    const leaks = new LeakWatch(numRuns);
    const ends = new Map<string, number>();
    const groups = fc.array(sequences, { minLength: atOnce, maxLength: atOnce });
    const property = fc.asyncProperty(groups, async (group) => {
      await Promise.all(group.map(({ bytes, cuts }) => playSequence(current, bytes, cuts)));
      await until("none is left", () => current.edge().connectionCount === 0, goneMsMax);
      for (const { closed } of current.recorder().connections.splice(0)) {
        assert.equal(closed.length, 1);
        const end = (closed[0] ?? 0) >= 3_000 ? "3000 or above" : `${closed[0]}`;
        ends.set(end, (ends.get(end) ?? 0) + 1);
      }
      leaks.note(atOnce);
    });
    await fc.assert(property, { numRuns: Math.ceil(numRuns / atOnce), endOnFailure: true });
    const grownBytes = leaks.grownBytes();
    context.diagnostic(`ends: ${JSON.stringify([...ends])}; heap grown by ${grownBytes} bytes`);
    assert.ok(grownBytes < grownBytesMax, `${grownBytes} bytes are left`);
  });
}

async function playVector(
  current: Current,
  { events, output, closed }: WebSocketVector,
  how: string,
  pieces: readonly Uint8Array[],
): Promise<void> {
  const { connections } = current.recorder();
  const at = connections.length;
  const peer = new RawPeer(current.edge().port);
  await once(peer.socket, "connect");
  await peer.write(pieces);
  const isOpen = closed === undefined;
  if (isOpen) {
    await peer.write([lastPing]);
    const expected = output + lastPong;
    await until(`all is answered ${how}`, () => peer.received.length >= expected.length, goneMsMax);
    assert.equal(peer.received, expected, how);
    peer.socket.destroy();
  } else {
    await peer.untilEnded();
    assert.equal(peer.received, output, how);
  }
  const end = await until("its end is told", () => connections[at]?.closed.at(-1), goneMsMax);
  assert.deepEqual(connections[at], { events, closed: [closed ?? 1006] }, how);
  assert.equal(end, closed ?? 1006);
}

async function playSequence(
  current: Current,
  bytes: Uint8Array,
  cuts: readonly number[],
): Promise<void> {
  const foretold = new RecordingReader().take([bytes]);
  const peer = new RawPeer(current.edge().port);
  await once(peer.socket, "connect");
  await peer.write([upgradeBytes, ...cutAt(bytes, cuts)]);
  peer.socket.end();
  await peer.untilEnded();
  assert.equal(peer.received, foretold.output);
  peer.socket.resetAndDestroy();
}
