/**
 * Whom real edges let in: at the process's descriptors, at their rate, by address and
 * origin, and by the operators' switch. Who is connected is served all along.
 */
import assert from "node:assert/strict";
import { once } from "node:events";
import { chmod, readdir, writeFile } from "node:fs/promises";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { join } from "node:path";
import { after, afterEach, before, describe, test } from "node:test";
import { WebSocket } from "ws";
import type { DeviceOptions } from "../../src/client/device-client.js";
import { makeCertificate } from "../support/certificate.js";
import { shakeHands } from "../support/handshakes.js";
import type { NatsFixture } from "../support/nats-server.js";
import { runOperatorCommand } from "../support/operator-command.js";
import { type Platform, startPlatform } from "../support/platform.js";
import { until } from "../support/until.js";

const descriptors = 256;

interface EdgeReport {
  readonly node: string;
  readonly opened: number;
  readonly waiting: number;
  readonly waited: number;
  readonly refused: Readonly<Record<string, number>>;
}

/** Before a node on ::1: says of each of its sockets that it is `client`'s. */
async function startProxy(nodePort: number) {
  const server = createServer((socket) => {
    const onward = connect({ port: nodePort, host: "::1" });
    const family = proxy.client.includes(":") ? "TCP6" : "TCP4";
    const own = family === "TCP6" ? "::1" : "127.0.0.1";
    onward.write(`PROXY ${family} ${proxy.client} ${own} 4711 443\r\n`);
    socket.on("error", () => onward.destroy()).pipe(onward);
    onward.on("error", () => socket.destroy()).pipe(socket);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const proxy = {
    client: "",
    port: (server.address() as AddressInfo).port,
    async [Symbol.asyncDispose]() {
      server.close();
    },
  };
  return proxy;
}

describe("an edge lets in", () => {
  let platform: Platform<NatsFixture>;
  const sockets: Socket[] = [];

  before(async () => {
    platform = await startPlatform({ nodes: ["a"] });
  });
  after(() => platform[Symbol.asyncDispose]());
  afterEach(() => {
    for (const socket of sockets.splice(0)) socket.destroy();
  });

  async function shake(url: string, headers: Readonly<Record<string, string>> = {}) {
    const shaken = await shakeHands(url, { headers });
    if (shaken.socket !== undefined) sockets.push(shaken.socket);
    return shaken;
  }

  /** A client that is connected; `isServed` fails unless a push reaches it now. */
  async function connected(uid: string, url: string) {
    const shown: unknown[] = [];
    const device = platform.device(uid, {
      urls: [url],
      onMessage: ({ body }) => void shown.push(body),
    });
    const isServed = async (body: string) => {
      assert.ok((await platform.push(uid, { body })).ok);
      await until(`${uid} is shown ${body}`, () => shown.includes(body));
    };
    await isServed("first");
    return { device, isServed };
  }

  async function reportOf(node: string): Promise<EdgeReport | undefined> {
    const { document } = await runOperatorCommand(platform, "edges");
    const edges: EdgeReport[] = document.edges;
    return edges.find((edge) => edge.node.startsWith(`dc1-${node}.`));
  }

  async function refusedBy(node: string): Promise<Readonly<Record<string, number>>> {
    return (await reportOf(node))?.refused ?? {};
  }

  test("as many as its process has descriptors for, tells the others when to come, and recovers", async () => {
    const small = join(platform.folder, "small-node.sh");
    await writeFile(
      small,
      `#!/bin/sh\nulimit -n ${descriptors}\nexec "${process.execPath}" "$@"\n`,
    );
    await chmod(small, 0o700);
    const { edgeUrl, pid } = await platform.startNode("small", {}, small);
    const alice = await connected("alice", edgeUrl);

    await until("it is full", async () => (await shake(edgeUrl)).status === 503);
    const refused = await shake(edgeUrl);
    assert.deepEqual([refused.status, refused.retryAfter], [503, 5]);
    // More than there are descriptors left, at once: some are answered, some dropped.
    const storm = await Promise.all(Array.from({ length: 400 }, () => shake(edgeUrl)));
    assert.ok(storm.every(({ status }) => status === 503 || status === 0));
    await alice.isServed("while full");
    assert.ok((await readdir(`/proc/${pid}/fd`)).length < descriptors - 16, "spare for the rest");
    assert.ok(((await refusedBy("small"))["full"] ?? 0) > 0);

    for (const socket of sockets.splice(0)) socket.destroy();
    await until("there is room again", async () => (await shake(edgeUrl)).status === 101);
    await alice.isServed("afterwards");
    alice.device.close();
    await platform.killNode("small", "SIGTERM");
  });

  test("no more at once than its rate, the next ones in their order, and refuses the rest", async () => {
    const { edgeUrl } = await platform.startNode("slow", { BELFRY_ACCEPTS_PER_SECOND: "1" });
    const dave = await connected("dave", edgeUrl);
    const came: number[] = [];
    const inLine: Promise<unknown>[] = [];
    for (const number of [1, 2, 3]) {
      inLine.push(shake(edgeUrl).then(({ status }) => came.push(status === 101 ? number : 0)));
      await until("it came", async () => {
        const { opened = 0, waiting = 0 } = (await reportOf("slow")) ?? {};
        return opened + waiting > number;
      });
    }
    const storm = await Promise.all(Array.from({ length: 100 }, () => shake(edgeUrl)));
    await dave.isServed("while others wait");
    await Promise.all(inLine);
    assert.deepEqual(came, [1, 2, 3]);
    const refused = storm.filter(({ status }) => status === 503);
    assert.ok(refused.length > 50 && refused.length < storm.length, `${refused.length}`);
    for (const { retryAfter = 0 } of refused) assert.ok(retryAfter >= 3 && retryAfter <= 5);
    assert.ok(((await refusedBy("slow"))["rate"] ?? 0) >= refused.length);
    assert.ok(((await reportOf("slow"))?.waited ?? 0) >= 3);
    dave.device.close();
    await platform.killNode("slow", "SIGTERM");
  });

  test("nobody who waits for an edge that goes: they are told at once", async () => {
    const { edgeUrl } = await platform.startNode("leaving", {
      ...{ BELFRY_ACCEPTS_PER_SECOND: "1", BELFRY_ACCEPT_WAIT_MS: "10000" },
    });
    const unanswered = new Set<ReturnType<typeof shake>>();
    const come = () => {
      const shaken = shake(edgeUrl);
      unanswered.add(shaken);
      void shaken.then(() => unanswered.delete(shaken));
    };
    await until("they wait", async () => {
      // One a second goes in while the report is on its way; who finds no place is told so.
      for (let count = 0; count < 10; count++) come();
      const { waiting = 0 } = (await reportOf("leaving")) ?? {};
      return waiting >= 4 && unanswered.size >= 4;
    });
    const answers = [...unanswered];
    await platform.killNode("leaving", "SIGTERM");
    const statuses = (await Promise.all(answers)).map(({ status }) => status);
    assert.ok(statuses.includes(503));
    assert.ok(!statuses.includes(0), `told, not dropped: ${statuses}`);
  });

  test("by address and origin, and believes trusted proxies alone", async () => {
    const { edgeUrl } = await platform.startNode("strict", {
      BELFRY_DENY: "203.0.113.0/24",
      BELFRY_ORIGINS: "https://app.example.com",
      BELFRY_TRUSTED_PROXIES: "127.0.0.1, ::1",
      BELFRY_CONNECTIONS_PER_ADDRESS: "2",
    });
    const asks = async (headers: Readonly<Record<string, string>>) =>
      (await shake(edgeUrl, headers)).status;
    assert.equal(await asks({ "x-forwarded-for": "203.0.113.9" }), 403);
    assert.equal(await asks({ "x-forwarded-for": "203.0.113.9, 192.0.2.1" }), 101);
    assert.equal(await asks({ origin: "https://evil.example.com" }), 403);
    assert.equal(await asks({ origin: "https://app.example.com" }), 101);
    assert.equal(await asks({ "x-forwarded-for": "192.0.2.1" }), 101);
    assert.equal(await asks({ "x-forwarded-for": "192.0.2.1" }), 429);
    for (const socket of sockets.splice(0)) socket.destroy();
    await until("its connections are gone", async () => {
      return (await asks({ "x-forwarded-for": "192.0.2.1" })) === 101;
    });
    const refused = await refusedBy("strict");
    assert.deepEqual([refused["address"], refused["origin"]], [1, 1]);
    await platform.killNode("strict", "SIGTERM");
  });

  test("under TLS and over IPv6, also those whom a proxy passes on", async () => {
    const { certFile, keyFile, cert } = await makeCertificate(platform.folder);
    const tls = { BELFRY_TLS_CERT_FILE: certFile, BELFRY_TLS_KEY_FILE: keyFile };
    const { edgeUrl, httpUrl } = await platform.startNode("tls", {
      ...{ BELFRY_HOST: "::1", ...tls, BELFRY_DENY: "203.0.113.9" },
      ...{ BELFRY_TRUSTED_PROXIES: "::1", BELFRY_PROXY_PROTOCOL: "true" },
    });
    assert.match(edgeUrl, /^wss:\/\/\[::1\]:\d+\/connect$/);
    assert.match(httpUrl, /^https:\/\/\[::1\]:\d+$/);
    await using proxy = await startProxy(Number(new URL(httpUrl).port));
    const through = `wss://127.0.0.1:${proxy.port}/connect`;
    proxy.client = "203.0.113.9";
    assert.equal((await shakeHands(through, { ca: cert })).status, 403);
    proxy.client = "2001:db8::5";
    const shaken = await shakeHands(through, { ca: cert });
    assert.equal(shaken.status, 101);
    shaken.socket?.destroy();
    const shown: unknown[] = [];
    const Socket = class extends WebSocket {
      constructor(url: string, protocols: string[]) {
        super(url, protocols, { ca: cert });
      }
    };
    const carol = platform.device("carol", {
      urls: [through],
      socket: Socket as unknown as NonNullable<DeviceOptions["socket"]>,
      onMessage: ({ body }) => void shown.push(body),
    });
    assert.ok((await platform.push("carol", { body: "x".repeat(60_000) })).ok);
    await until("it arrives", () => shown.length === 1);
    carol.close();
    await platform.killNode("tls", "SIGTERM");
  });

  test("the share that operators set, on all edges, and those connected stay", async () => {
    const { edgeUrl } = platform.node("a");
    const other = await platform.startNode("other");
    const bob = await connected("bob", edgeUrl);
    assert.equal((await runOperatorCommand(platform, "edges", "let-in", "0")).exitCode, 0);
    for (const url of [edgeUrl, other.edgeUrl]) {
      await until("nobody is let in", async () => {
        const { status, retryAfter } = await shake(url);
        return status === 503 && retryAfter === 10;
      });
    }
    await bob.isServed("while nobody is let in");
    const started = await platform.startNode("later");
    assert.equal((await shake(started.edgeUrl)).status, 503, "who starts meanwhile keeps to it");
    assert.ok(((await refusedBy("a"))["letIn"] ?? 0) > 0);
    assert.equal((await runOperatorCommand(platform, "edges", "let-in", "100")).exitCode, 0);
    for (const url of [edgeUrl, other.edgeUrl, started.edgeUrl]) {
      await until("all are let in", async () => (await shake(url)).status === 101);
    }
    bob.device.close();
  });
});
