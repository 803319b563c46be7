/**
 * What clients tell an edge of themselves and what they are told back, on real parts: the
 * SDK, a node, NATS, the command `belfry`, and bare sockets for what no SDK would do.
 */
import assert from "node:assert/strict";
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { after, before, describe, test } from "node:test";
import { WebSocket } from "ws";
import type { DeviceState } from "../../src/client/device-client.js";
import type { DeviceSocketConstructor } from "../../src/client/device-socket.js";
import { encodeFrame as encodeWsFrame, opcodes } from "../../src/drivers/ws-frames.js";
import { closeCodes } from "../../src/protocol/close-codes.js";
import { packValue, unpackValue } from "../../src/protocol/codec.js";
import { clientKinds, serverKinds } from "../../src/protocol/frames.js";
import { FakeSurroundings } from "../client/fake-surroundings.js";
import { runOperatorCommand as belfry } from "../support/operator-command.js";
import { memoryStorage, type Platform, startPlatform } from "../support/platform.js";
import { eventIn, storedEvents } from "../support/stored-events.js";
import { until } from "../support/until.js";

const fourMinutesMs = 240_000;
const leastMs = 1_000;
const missed = 2.5;
/** Of a client that asks for the least. */
const silenceMs = missed * leastMs;
const kib = 1_024;
/** How the frame begins that says that a connection's own session is attached. */
const attachedHead = Buffer.from(packValue([serverKinds.attached, 0, 0, 0, 0]).subarray(0, 3));

/** As the SDK's socket: what goes over it can be read off. */
function recordingSocket() {
  const heard: unknown[][] = [];
  const said: unknown[][] = [];
  const opened: WebSocket[] = [];
  class Recording extends WebSocket {
    constructor(url: string, protocols: string[]) {
      super(url, protocols);
      opened.push(this);
      this.on("message", (data) => heard.push(unpackValue(data as Buffer) as unknown[]));
    }
    override send(data: unknown, ...more: unknown[]): void {
      said.push(unpackValue(data as Uint8Array) as unknown[]);
      super.send(data as Uint8Array, ...(more as []));
    }
  }
  const of = (frames: unknown[][], kind: number) =>
    frames.filter(([each]) => each === kind).map(([, map]) => map as Record<string, unknown>);
  return {
    socket: Recording as unknown as DeviceSocketConstructor,
    opened,
    heard: (kind: number) => of(heard, kind),
    said: (kind: number) => of(said, kind),
  };
}

describe("what a client tells", () => {
  let platform: Platform;
  before(async () => {
    const environment = { BELFRY_HEARTBEAT_MIN_MS: String(leastMs) };
    platform = await startPlatform({ nodes: ["a"], environment, events: { presence: true } });
  });
  after(() => platform[Symbol.asyncDispose]());

  async function kindsOf(uid: string): Promise<string[]> {
    const events = (await storedEvents(platform.link)).map(eventIn);
    return events.filter((event) => event.uid === uid).map(({ kind }) => kind);
  }

  async function done(...args: string[]) {
    const { exitCode, document } = await belfry(platform, ...args);
    assert.equal(exitCode, 0, JSON.stringify(document));
    return document;
  }

  /** Says hello and then what it is told to say; never answers a ping. */
  async function silentClient(uid: string, said: Record<string, unknown>) {
    const socket = new WebSocket(platform.node("a").edgeUrl, ["belfry.v1"]);
    const frames: unknown[][] = [];
    socket.on("message", (data) => frames.push(unpackValue(data as Buffer) as unknown[]));
    await once(socket, "open");
    const token = await platform.token(uid);
    socket.send(packValue([clientKinds.hello, { v: 1, token, device: "bare", ...said }]));
    const welcome = await until("it is welcome", () => frames.find(([kind]) => kind === 16));
    return { socket, frames, welcome: welcome[1] as Record<string, unknown> };
  }

  test("4 min are asked for on wifi and granted; who looks changes what counts and is told", async () => {
    const uid = "asks";
    const { socket, heard, said } = recordingSocket();
    const around = new FakeSurroundings("wifi", "background");
    // What was learnt of wifi on another day.
    const storage = memoryStorage();
    const learnt = { wantedMs: fourMinutesMs, borneMs: 160_000, borneInARow: 0, lostInARow: 0 };
    storage.set("belfry.heartbeat", JSON.stringify({ v: 1, wifi: learnt }));
    const device = platform.device(uid, {
      ...{ socket, storage, network: around.network, appState: around.appState },
      onMessage: () => undefined,
    });
    await until("it is attached", () => device.position !== undefined);
    const [hello] = said(clientKinds.hello);
    const asked = [hello?.["network"], hello?.["app"], hello?.["heartbeatMs"]];
    assert.deepEqual(asked, ["wifi", "background", fourMinutesMs]);
    const [welcome] = heard(serverKinds.welcome);
    assert.equal(welcome?.["heartbeatMs"], fourMinutesMs);
    await until("background is told", async () => (await kindsOf(uid)).includes("background"));

    around.become({ app: "front" });
    const directives = () => heard(serverKinds.directive);
    await until("what is granted now is said", () => directives().length === 1);
    assert.deepEqual(directives(), [{ do: "heartbeat", heartbeatMs: 60_000 }]);
    await until("foreground is told", async () => (await kindsOf(uid)).includes("foreground"));
    const shown = await done("user", "demo", uid);
    const { app, appState, announced } = shown;
    assert.deepEqual([app, appState, announced], ["demo", "front", "foreground"]);
    around.become({ app: "background" });
    await until("it is 4 min again", () => directives().length === 2);
    assert.deepEqual(directives()[1], { do: "heartbeat", heartbeatMs: fourMinutesMs });
    await until("background is told again", async () => (await kindsOf(uid)).length === 4);
    assert.deepEqual(await kindsOf(uid), ["online", "background", "foreground", "background"]);
    device.close();
    await until("it is offline", async () => (await kindsOf(uid)).at(-1) === "offline", 30_000);
  });

  test("a kick keeps the client away: its app learns why, the user goes offline", async () => {
    const uid = "kicked";
    const { socket, opened } = recordingSocket();
    const states: DeviceState[] = [];
    const device = platform.device(uid, {
      socket,
      onMessage: () => undefined,
      onState: (state) => void states.push(state),
    });
    await until("it is attached", () => device.position !== undefined);
    await until("it is known who is connected", async () => {
      return (await done("user", "demo", uid)).presence === "connected";
    });
    const told = await done("directive", "kick", "demo", uid, "--reason", "account closed");
    assert.deepEqual([told.connections, told.told], [1, 1]);
    await until("it stays away", () => device.state.name === "stopped");
    const last = states.at(-1);
    assert.ok(last?.name === "stopped" && last.reason === "account closed", JSON.stringify(last));
    await until("it is offline", async () => (await kindsOf(uid)).at(-1) === "offline", 30_000);
    assert.equal(opened.length, 1, "it never came back");
    const again = await done("directive", "kick", "demo", uid, "--reason", "account closed");
    assert.deepEqual([again.connections, again.told], [0, 0]);
  });

  test("an operator's heartbeat, config and reconnect reach the SDK", async () => {
    const uid = "directed";
    const { socket, heard, opened } = recordingSocket();
    const configs: unknown[] = [];
    const device = platform.device(uid, {
      socket,
      onMessage: () => undefined,
      onConfig: (config) => void configs.push(config),
    });
    await until("it is attached", () => device.position !== undefined);
    await done("directive", "config", "demo", uid, '{"document":"theme"}');
    await until("the app has it", () => configs.length === 1);
    assert.deepEqual(configs, [{ document: "theme" }]);
    const isAttached = () => device.state.name === "attached";
    let toldTo = 0;
    // The interval of before is 30 s.
    await until("pings come so often", async () => {
      // A connection is lost to a busy machine, and the next one has not been told.
      if (opened.length !== toldTo) {
        await until("it is attached", isAttached);
        toldTo = opened.length;
        await done("directive", "heartbeat", "demo", uid, "1000");
      }
      return heard(serverKinds.ping).length >= 3;
    });
    const before = opened.length;
    await done("directive", "reconnect", "demo", uid);
    await until("it is back", () => opened.length > before && isAttached());
    device.close();
  });

  test("a client that answers nothing is closed after 2.5 of its own intervals", async () => {
    // Before its hello: it may be closed while the other one is still on its way.
    const sinceMs = performance.now();
    const quick = await silentClient("quick", { heartbeatMs: leastMs });
    const closed = once(quick.socket, "close");
    const slow = await silentClient("slow", { heartbeatMs: 3_600_000 });
    assert.deepEqual(
      [quick, slow].map(({ welcome }) => welcome["heartbeatMs"]),
      [leastMs, 300_000],
    );
    const [code] = await closed;
    assert.equal(code, closeCodes.HEARTBEAT_LOST.code);
    assert.ok(performance.now() - sinceMs > silenceMs - 100);
    // The second may fall to the look at which it counts as lost.
    const pings = quick.frames.filter(([kind]) => kind === serverKinds.ping).length;
    assert.ok(pings === 1 || pings === 2, `${pings} pings`);
    assert.equal(slow.socket.readyState, WebSocket.OPEN);
    slow.socket.terminate();
  });

  /** A bare socket: it writes a frame in the pieces that it is told to. */
  async function bareSocket(uid: string): Promise<{ socket: Socket; send(frame: unknown): void }> {
    const { hostname, port } = new URL(platform.node("a").edgeUrl);
    const socket = connect(Number(port), hostname);
    socket.on("error", () => undefined);
    const lines = [
      ...["GET /connect HTTP/1.1", "Host: edge", "Connection: Upgrade", "Upgrade: websocket"],
      ...["Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version: 13"],
      ...["Sec-WebSocket-Protocol: belfry.v1", "", ""],
    ];
    socket.write(lines.join("\r\n"));
    await once(socket, "data");
    const send = (frame: unknown) => void socket.write(masked(packValue(frame)));
    const token = await platform.token(uid);
    send([clientKinds.hello, { v: 1, token, device: "bare", heartbeatMs: leastMs }]);
    return { socket, send };
  }

  test("a frame that takes longer than the heartbeat allows gets through, at its pace", async () => {
    const uid = "slow-sender";
    const { socket } = await bareSocket(uid);
    let isClosed = false;
    socket.on("close", () => {
      isClosed = true;
    });
    socket.resume();
    // 1 KiB with each look, and the last one well after all silence would be over.
    const long = { app: "background", "unknown fields": "x".repeat(48 * kib) };
    const frame = masked(packValue([clientKinds.tell, long]));
    const sinceMs = performance.now();
    let at = 0;
    await until(
      "all of it is sent",
      () => {
        const isLast = at + kib >= frame.length;
        if (isLast && performance.now() - sinceMs < 3 * silenceMs) return false;
        socket.write(frame.subarray(at, at + kib));
        at += kib;
        return isLast;
      },
      60_000,
    );
    assert.equal(isClosed, false);
    await until("it was heard", async () => (await kindsOf(uid)).includes("background"), 20_000);
    socket.destroy();
  });

  test("a frame that dribbles does not keep its sender", async () => {
    const { socket } = await bareSocket("dribbler");
    let isClosed = false;
    socket.on("end", () => {
      isClosed = true;
    });
    socket.resume();
    const frame = masked(packValue([clientKinds.tell, { x: "x".repeat(12_288) }]));
    let at = 0;
    // 64 bytes a second: nothing would ever end it if any byte were a sign of life.
    await until(
      "it is closed",
      () => {
        socket.write(frame.subarray(at, at + 6));
        at += 6;
        return isClosed;
      },
      30_000,
    );
    assert.ok(at < frame.length);
    socket.destroy();
  });

  test("a message that is read late, its ping behind it, does not cost the connection", async () => {
    const uid = "slow-reader";
    const { socket, send } = await bareSocket(uid);
    let isClosed = false;
    socket.on("close", () => {
      isClosed = true;
    });
    let received: Buffer = Buffer.alloc(0);
    socket.on("data", (chunk: Buffer) => {
      received = Buffer.concat([received, chunk]);
    });
    // By what it was told: the command may take longer than an edge waits for a pong.
    await until("it is attached", () => received.includes(attachedHead));
    socket.pause();
    send([clientKinds.pong, 1]);
    const body = "b".repeat(48 * kib);
    assert.ok((await platform.push(uid, { body })).ok);
    // At most 48 s: what moved is worth a second for each KiB.
    await until("all silence would be over", over(3 * silenceMs), 30_000);
    const before = received.length;
    socket.resume();
    await until("it is all there", () => received.length > before + body.length - kib);
    send([clientKinds.pong, 2]);
    await until("a close would have come", over(2_000));
    assert.equal(isClosed, false);
    socket.destroy();
  });
});

/** Real time, which is what these are about: more of it does no harm. */
function over(ms: number): () => boolean {
  const sinceMs = performance.now();
  return () => performance.now() - sinceMs > ms;
}

/** A client's frame, masked by zeros. */
function masked(payload: Uint8Array): Buffer {
  const plain = encodeWsFrame(opcodes.binary, payload);
  const headBytes = plain.length - payload.length;
  const head = Buffer.from(plain.subarray(0, headBytes));
  head[1] = (head[1] ?? 0) | 0x80;
  return Buffer.concat([head, Buffer.alloc(4), plain.subarray(headBytes)]);
}
