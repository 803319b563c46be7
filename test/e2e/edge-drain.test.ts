/**
 * `belfry drain` and `undrain` at an edge with clients, on real processes: they are told to
 * move at the rate that was set, nothing is lost, and each connects once more.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { WebSocket } from "ws";
import type { DispatchAnswer } from "../../actors/dispatcher.js";
import { wsSocket } from "../../src/client/ws-socket.js";
import { runOperatorCommand as belfry } from "../support/operator-command.js";
import { type Platform, startPlatform } from "../support/platform.js";
import { PushedClients } from "../support/pushed-clients.js";
import { until } from "../support/until.js";

const clientCount = 500;
const perSecond = 200;
const latecomerCount = 20;
/** Clients of a busy machine leave later than they are told to. */
const patiently = ["--wait", "60"];

async function done(platform: Platform, ...args: string[]) {
  const { exitCode, document } = await belfry(platform, ...args);
  assert.equal(exitCode, 0, JSON.stringify(document));
  return document;
}

/** The addresses that a node's dispatcher tells. */
async function told(platform: Platform, node: string, query = "key=k"): Promise<string[]> {
  const response = await fetch(`${platform.node(node).httpUrl}/edges?${query}`);
  const { edges } = (await response.json()) as DispatchAnswer;
  return edges.map(({ url }) => url).sort();
}

async function untilTold(platform: Platform, node: string, urls: readonly string[]) {
  await until(`${node} tells of ${urls}`, async () => {
    return (await told(platform, node)).join() === urls.join();
  });
}

/** How a bare handshake is answered. */
async function handshake(platform: Platform, node: string): Promise<Response> {
  const url = platform.node(node).edgeUrl.replace("ws:", "http:");
  const { request } = await import("node:http");
  return new Promise((resolve, reject) => {
    const headers = {
      ...{ Connection: "Upgrade", Upgrade: "websocket", "Sec-WebSocket-Version": "13" },
      "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    };
    const asked = request(url, { headers });
    asked.once("response", ({ statusCode = 0, headers: given }) => {
      resolve(new Response(null, { status: statusCode, headers: given as Record<string, string> }));
      asked.destroy();
    });
    asked.once("upgrade", (_, socket) => {
      socket.destroy();
      resolve(new Response(null, { status: 200, headers: { upgraded: "yes" } }));
    });
    asked.once("error", reject);
    asked.end();
  });
}

/** Their list of edges is an old one, from a cache or the app: it names the edge in drain, too. */
async function latecomers(platform: Platform, refusedBefore: number): Promise<void> {
  const attached = new Set<string>();
  for (let at = 0; at < latecomerCount; at++) {
    const uid = `late-${at}`;
    platform.device(uid, {
      socket: wsSocket(WebSocket as unknown as Parameters<typeof wsSocket>[0]),
      onMessage: () => undefined,
      onState: ({ name }) => {
        if (name === "attached") attached.add(uid);
      },
    });
  }
  await until("they are with the others", () => attached.size === latecomerCount, 60_000);
  const { detail } = await done(platform, "actor", "dc1-a/edge");
  assert.ok(detail.drain.refused > refusedBefore, "nobody tried the edge in drain first");
  assert.equal(detail.connections, 0);
}

test("empties an edge of 500 clients under pushes: nothing lost, each connects once more", async (t) => {
  await using platform = await startPlatform({ nodes: ["a", "b", "c"] });
  const all = [...platform.nodes.values()].map(({ edgeUrl }) => edgeUrl).sort();
  await until("all nodes tell of all", async () => {
    return (await told(platform, "a")).join() === all.join();
  });
  const clients = await PushedClients.start(platform, clientCount, ["a"]);
  assert.equal(clients.sockets.openOn("a"), clientCount);
  await clients.untilAccepted(200);
  const atRate = ["--rate", String(perSecond)];
  const startMs = performance.now();
  const drained = await done(platform, "drain", "dc1-a", ...atRate, ...patiently);
  const tookMs = performance.now() - startMs;
  assert.deepEqual([drained.held, drained.connections], [0, 0]);
  await clients.untilAttached();
  await clients.untilAccepted(200);
  const others = ["b", "c"].map((name) => clients.sockets.openOn(name));
  t.diagnostic(`${clientCount} clients left in ${tookMs.toFixed(0)} ms for b and c: ${others}`);
  assert.ok(tookMs >= ((clientCount - 1) * 1_000) / perSecond - 100, "faster than the rate");
  // Told to the test by sockets of their own.
  await until("none is left on a", () => clients.sockets.openOn("a") === 0);
  assert.ok(Math.min(...others) > clientCount / 4, `they are spread: ${others}`);
  for (const client of clients.all) {
    assert.equal(clients.connectsOf(client), 2, `${client.uid}: ${client.lastError}`);
    assert.doesNotMatch(client.lastError, /4000/, "told to move, not closed");
  }

  const rest = all.filter((url) => url !== platform.node("a").edgeUrl);
  // Each follows the operators by itself.
  for (const node of ["a", "b", "c"]) await untilTold(platform, node, rest);
  const refused = await handshake(platform, "a");
  assert.equal(refused.status, 503);
  assert.ok(Number(refused.headers.get("retry-after")) > 0);
  const { detail } = await done(platform, "actor", "dc1-a/edge");
  assert.ok(detail.drain.refused > 0, "what it refuses is counted");
  await latecomers(platform, detail.drain.refused);

  await done(platform, "undrain", "dc1-a");
  await until("a is told of again", async () => (await told(platform, "b")).length === 3);
  await until("a takes clients again", async () => {
    return (await handshake(platform, "a")).headers.has("upgraded");
  });
  await clients.settle();
  assert.deepEqual(clients.failed, []);
});

test("keeps an edge in drain across its restart", async () => {
  await using platform = await startPlatform();
  await until("both tell of both", async () => (await told(platform, "b")).length === 2);
  await done(platform, "drain", "dc1-a", ...patiently);
  await platform.killNode("a", "SIGTERM");
  await platform.startNode("a");
  await until("it takes no client", async () => (await handshake(platform, "a")).status === 503);
  await until("it has its record", () => platform.nodeRecord("dc1-a").catch(() => undefined));
  const b = platform.node("b").edgeUrl;
  for (const node of ["a", "b"]) {
    await until("it is told to nobody", async () => (await told(platform, node)).join() === b);
  }
  await done(platform, "undrain", "dc1-a");
  await until("it takes clients", async () => {
    return (await handshake(platform, "a")).headers.has("upgraded");
  });
});

test("an edge in drain takes clients while the others are down, and gives them back", async () => {
  await using platform = await startPlatform();
  await until("both tell of both", async () => (await told(platform, "b")).length === 2);
  const clients = await PushedClients.start(platform, 40, ["a", "b"], 50);
  await done(platform, "drain", "dc1-a", ...patiently);
  await until("all are on b", () => clients.sockets.openOn("b") === 40);
  await clients.untilAttached();
  await platform.killNode("b");
  await until("all are on a", () => clients.sockets.openOn("a") === 40, 60_000);
  await clients.untilAttached();
  await clients.untilAccepted(50);
  await untilTold(platform, "a", [platform.node("a").edgeUrl]);
  await until("it knows that it is held", async () => {
    const { detail } = await done(platform, "actor", "dc1-a/edge");
    return detail.drain.isHeld;
  });
  const { exitCode, document } = await belfry(platform, "drain", "dc1-a", "--wait", "1");
  assert.deepEqual([exitCode, document.done, document.nowhereToGo], [1, false, true]);
  await platform.startNode("b");
  await until("all are on b again", () => clients.sockets.openOn("b") === 40, 60_000);
  await clients.untilAttached();
  await clients.settle();
});

test("what operators say of the edges is what clients are told", async () => {
  await using platform = await startPlatform();
  const [a, b] = ["a", "b"].map((name) => platform.node(name).edgeUrl);
  await until("both are told of", async () => (await told(platform, "a")).length === 2);
  await done(platform, "dispatcher", "weigh", "dc1-a", "0");
  await until("b alone is told", async () => (await told(platform, "a")).join() === b);
  await done(platform, "dispatcher", "weigh", "dc1-a", "100");
  // Whichever node answers, once it follows.
  const answer = await until("both are told of again", async () => {
    const now = await done(platform, "dispatcher", "told", "k");
    return now.edges.length === 2 && now;
  });
  assert.equal(answer.letIn, 1);

  const dispatcher = "http://[::1]:9/edges";
  const two = "wss://[2001:db8::2]/connect";
  await done(platform, "dispatcher", "other", "dc2", "--dispatcher", dispatcher, "--edge", two);
  await until("the other datacenter is told after failures", async () => {
    return (await told(platform, "b", "key=k&attempt=4")).includes(two);
  });
  assert.deepEqual(await told(platform, "b", "key=k&attempt=3"), [a, b].sort());
  await done(platform, "dispatcher", "away", "dc2");
  const sent = await until("clients are sent there", async () => {
    const url = `${platform.node("a").httpUrl}/edges?key=k`;
    const response = await fetch(url, { redirect: "manual" });
    return response.status === 307 ? response.headers.get("location") : undefined;
  });
  assert.equal(sent, `${dispatcher}?key=k&attempt=0&from=dc1`);
  await done(platform, "dispatcher", "back");
  await until("they are at home again", async () => (await told(platform, "a")).length === 2);
  const { exitCode, document } = await belfry(platform, "dispatcher", "away", "dc9");
  assert.deepEqual([exitCode, document.code], [1, "NOT_FOUND"]);
});
