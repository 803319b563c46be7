/**
 * A client that stops reading, on real sockets: it is spared QoS 0 and not closed for it, its
 * neighbour loses nothing, and it goes on when it reads again.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { WebSocket } from "ws";
import { packValue, unpackValue } from "../../src/protocol/codec.js";
import { clientKinds, serverKinds } from "../../src/protocol/frames.js";
import { runOperatorCommand } from "../support/operator-command.js";
import { type Platform, startPlatform } from "../support/platform.js";
import { until } from "../support/until.js";

const large = new Uint8Array(48 * 1024);
/** Of these, far above what two kernels hold for a socket. */
const pushesMax = 2_000;

interface Reader {
  readonly socket: WebSocket;
  readonly frames: unknown[][];
  closedWith: number | undefined;
}

async function connect(platform: Platform, uid: string): Promise<Reader> {
  const socket = new WebSocket(platform.node("a").edgeUrl, "belfry.v1");
  const reader: Reader = { socket, frames: [], closedWith: undefined };
  socket.on("message", (data: Buffer) => {
    const frame = unpackValue(data) as unknown[];
    reader.frames.push(frame);
    if (frame[0] === serverKinds.ping) socket.send(packValue([clientKinds.pong, frame[1]]));
  });
  socket.on("close", (code) => {
    reader.closedWith = code;
  });
  await new Promise((resolve) => socket.once("open", resolve));
  const hello = { v: 1, token: await platform.token(uid), device: "phone", start: "all" };
  socket.send(packValue([clientKinds.hello, hello]));
  await until("it is attached", () => ofKind(reader, serverKinds.attached) > 0);
  return reader;
}

const ofKind = ({ frames }: Reader, kind: number) =>
  frames.filter(([frameKind]) => frameKind === kind).length;

async function dropped(platform: Platform): Promise<number> {
  const { document } = await runOperatorCommand(platform, "edges");
  return document.edges[0].passingDropped;
}

test("a client that never reads is spared QoS 0 first, and costs its neighbour nothing", async (t) => {
  await using platform = await startPlatform({ nodes: ["a"] });
  const slow = await connect(platform, "slow");
  const quick = await connect(platform, "quick");
  slow.socket.pause();
  let pushed = 0;
  while ((await dropped(platform)) === 0) {
    assert.ok(pushed < pushesMax, "the kernels take what is not read, without a bound");
    for (let at = 0; at < 50; at++) {
      const answer = await platform.push("slow", { body: large, qos: 0 });
      assert.ok(answer.ok);
      pushed++;
    }
    await platform.push("quick", { body: pushed, qos: 0 });
  }
  t.diagnostic(`${pushed} pushes of 48 KiB, ${await dropped(platform)} of them not sent`);
  await until("the quick one has all", () => ofKind(quick, serverKinds.passing) === pushed / 50);
  // What is stored comes all the same.
  assert.ok((await platform.push("slow", { body: "stored" })).ok);
  assert.equal(slow.closedWith, undefined);
  slow.socket.resume();
  await until("it has what was stored", () => ofKind(slow, serverKinds.message) > 0);
  assert.ok(ofKind(slow, serverKinds.passing) < pushed);
  const before = ofKind(slow, serverKinds.passing);
  await until("it is sent QoS 0 again", async () => {
    await platform.push("slow", { body: "typing", qos: 0 });
    return ofKind(slow, serverKinds.passing) > before;
  });
  assert.equal(slow.closedWith, undefined);
  for (const { socket } of [slow, quick]) socket.close();
});
