/** What the NATS drivers do when the server goes, comes back, or should not be used. */

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { type AddressInfo, createServer } from "node:net";
import { describe, test } from "node:test";
import { NatsBus } from "../../src/drivers/nats-bus.js";
import {
  connectNats,
  type NatsOptions,
  type NatsStatus,
} from "../../src/drivers/nats-connection.js";
import { openKeyValue } from "../../src/drivers/nats-key-value.js";
import { deleteKey } from "../support/delete-key.js";
import { type NatsFixture, startNats } from "../support/nats-server.js";
import { Starvation } from "../support/starvation.js";
import { startTcpProxy } from "../support/tcp-proxy.js";
import { until } from "../support/until.js";

describe("NATS connection", () => {
  test("a server that goes and returns is told, and subscriptions come back", async () => {
    await using nats = await startNats();
    const told: NatsStatus[] = [];
    const connection = await connectNats({
      ...access(nats),
      onStatus: (status) => told.push(status),
    });
    const bus = new NatsBus(connection);
    const received: string[] = [];
    bus.subscribe("node.test.>", ({ subject }) => received.push(subject));
    await bus.flush();
    nats.kill("SIGKILL");
    await until("the loss is told", () => told.includes("disconnected"));
    assert.equal(connection.isConnected, false);
    await nats.restart();
    await until("the return is told", () => told.includes("reconnected"));
    assert.equal(connection.isConnected, true);
    await bus.flush();
    bus.publish("node.test.back", new Uint8Array());
    await until("it is received", () => received.length > 0);
    assert.deepEqual(received, ["node.test.back"]);
    await connection.close();
    await until("the close is told", () => told.at(-1) === "closed");
    assert.deepEqual(told, ["disconnected", "reconnected", "closed"]);
  });

  // The client waits for its last write to leave, and behind a full buffer it never does.
  test("a server out of reach is noticed though what was sent to it cannot leave", async () => {
    await using nats = await startNats();
    await using proxy = await startTcpProxy(nats.port);
    const told: NatsStatus[] = [];
    const connection = await connectNats({
      ...access(nats),
      url: proxy.url,
      onStatus: (status) => told.push(status),
    });
    const bus = new NatsBus(connection);
    const starvation = new Starvation({ nodes: new Map(), nats });
    proxy.cut("both");
    const startMs = performance.now();
    // More than the buffers of both ends take.
    for (let at = 0; at < 64; at++) bus.publish("node.test.large", new Uint8Array(1_000_000));
    bus.flush().catch(() => undefined);
    await until("the loss is told", () => told.includes("disconnected"));
    const tookMs = performance.now() - startMs;
    assert.ok(tookMs < 6_000 + starvation.ms(), "soon enough for a cluster's lease");
    proxy.heal();
    await until("it is back", () => connection.isConnected);
    await connection.close();
  });

  test("of several servers one that is there is taken", async () => {
    await using nats = await startNats();
    const nowhere = "127.0.0.1:1";
    const connection = await connectNats({
      ...access(nats),
      url: `${nowhere}, ${nats.url} ,nats://${nowhere}`,
      firstConnectMs: 0,
    });
    assert.equal(connection.isConnected, true);
    assert.equal(connection.isClustered, false);
    await connection.close();
  });

  test("what is published while the server is away is dropped and counted", async () => {
    await using nats = await startNats();
    const connection = await connectNats(access(nats));
    const bus = new NatsBus(connection);
    const received: string[] = [];
    bus.subscribe("node.test.>", ({ subject }) => received.push(subject));
    await bus.flush();
    nats.kill("SIGKILL");
    await until("the loss is seen", () => !connection.isConnected);
    for (let at = 0; at < 1_000; at++) bus.publish("node.test.away", new Uint8Array(10_000));
    assert.equal(connection.droppedPublishes, 1_000);
    await assert.rejects(bus.request("node.test.away", new Uint8Array(), 60_000), {
      code: "DISCONNECTED",
      outcome: "not-done",
    });
    await assert.rejects(bus.flush(), { code: "DISCONNECTED" });
    await nats.restart();
    await until("the server is back", () => connection.isConnected);
    bus.publish("node.test.back", new Uint8Array());
    await until("the new one is received", () => received.length > 0);
    assert.deepEqual(received, ["node.test.back"]);
    await connection.close();
  });

  test("asks that are open when the server goes end at once, as unknown", async () => {
    await using nats = await startNats();
    const connection = await connectNats(access(nats));
    const bus = new NatsBus(connection);
    const heard: string[] = [];
    bus.subscribe("node.test.silent", ({ subject }) => heard.push(subject));
    await bus.flush();
    const asked = bus.request("node.test.silent", new Uint8Array(), 60_000);
    const ended = assert.rejects(asked, { code: "DISCONNECTED", outcome: "unknown" });
    await until("the ask was delivered", () => heard.length === 1);
    nats.kill("SIGKILL");
    await ended;
    await connection.close();
  });

  test("an unreachable server is given up after the bound, and said so", async () => {
    const port = await freePort();
    const url = `nats://127.0.0.1:${port}`;
    const starvation = new Starvation({ nodes: new Map(), nats: { pids: [] } });
    const startedMs = performance.now();
    await assert.rejects(connectNats({ url, name: "test", firstConnectMs: 300 }), {
      code: "NATS_UNREACHABLE",
      message: new RegExp(`no NATS server took us in at ${url}`),
    });
    assert.ok(performance.now() - startedMs < 3_000 + starvation.ms());
  });

  test("a server that starts within the bound is waited for", async () => {
    const port = await freePort();
    const connecting = connectNats({ url: `nats://127.0.0.1:${port}`, name: "test" });
    const server = fakeServer("2.10.0");
    await new Promise<void>((resolve) => server.listen(port, "127.0.0.1", resolve));
    const connection = await connecting;
    assert.equal(connection.isConnected, true);
    await connection.client.close();
    server.close();
  });

  test("a wrong password is final", async () => {
    await using nats = await startNats();
    await assert.rejects(connectNats({ ...access(nats), password: "wrong" }), {
      code: "NATS_UNREACHABLE",
      message: /as node: .*Authorization/i,
    });
  });

  for (const [version, isFit] of [
    ["2.9.25", false],
    ["2.10.0", true],
    ["2.11.3", true],
    ["3.0.0", true],
  ] as const) {
    test(`nats-server ${version} is ${isFit ? "taken" : "refused with what is needed"}`, async () => {
      const server = fakeServer(version);
      await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
      const { port } = server.address() as AddressInfo;
      const connecting = connectNats({ url: `nats://127.0.0.1:${port}`, name: "test" });
      if (isFit) await (await connecting).client.close();
      else {
        await assert.rejects(connecting, { code: "NATS_UNFIT", message: /2\.9\.25 .*2\.10/ });
      }
      server.close();
    });
  }

  test("a denied publish is told by name", async () => {
    await using nats = await startNats({ apps: ["demo"] });
    const told: string[] = [];
    const app = nats.credentials.app("demo");
    const connection = await connectNats({
      ...access(nats),
      user: app.user,
      password: app.pass,
      inboxPrefix: app.inboxPrefix,
      onStatus: (status, detail) => told.push(`${status}: ${detail}`),
    });
    new NatsBus(connection).publish("node.secret", new Uint8Array());
    await until("it is told", () => told.length > 0);
    assert.match(told[0] ?? "", /^refused: .*node\.secret/);
    await connection.close();
  });
});

describe("NATS key-value", () => {
  test("a watch lives through a restart of the server", async () => {
    await using nats = await startNats();
    const connection = await connectNats(access(nats));
    const kv = await openKeyValue(connection, "watched");
    await kv.create("kept", bytes("1"));
    await kv.create("gone", bytes("1"));
    const told: string[] = [];
    const stop = await kv.watch("", (key, entry) => {
      told.push(entry === undefined ? `${key} gone` : `${key}=${Buffer.from(entry.value)}`);
    });
    await until("both are told", () => told.length === 2);
    nats.kill("SIGKILL");
    await until("the loss is seen", () => !connection.isConnected);
    await nats.restart();
    const other = await connectNats(access(nats));
    const otherKv = await openKeyValue(other, "watched");
    const revision = (await otherKv.get("kept"))?.revision ?? 0;
    await deleteKey(otherKv, "gone");
    assert.ok((await otherKv.update("kept", bytes("2"), revision)).ok);
    assert.ok((await otherKv.create("new", bytes("1"))).ok);
    for (const change of ["gone gone", "kept=2", "new=1"]) {
      await until(`${change} is told`, () => told.includes(change));
    }
    assert.equal(told.filter((change) => change === "kept=2").length, 1);
    stop();
    await Promise.all([connection.close(), other.close()]);
  });

  test("a write that the server does not answer is of unknown outcome", async () => {
    await using nats = await startNats();
    const connection = await connectNats(access(nats));
    const kv = await openKeyValue(connection, "stopped");
    const created = await kv.create("lease", bytes("1"));
    assert.ok(created.ok);
    nats.kill("SIGSTOP");
    await until("the server has stopped", () => stateOf(nats.pid).startsWith("T"));
    const unanswered = kv.update("lease", bytes("2"), created.value);
    await assert.rejects(unanswered, { name: "Fault", outcome: "unknown" });
    nats.kill("SIGCONT");
    await until("the server is back", () => connection.isConnected);
    const entry = await until("it answers", () => kv.get("lease").catch(() => undefined));
    assert.match(Buffer.from(entry.value).toString(), /^[12]$/);
    await connection.close();
  });
});

function access(nats: NatsFixture): NatsOptions {
  const { user, pass: password, inboxPrefix } = nats.credentials.node;
  return { url: nats.url, name: "test", user, password, inboxPrefix };
}

/** Greets as a server of that version and answers pings; no more. */
function fakeServer(version: string) {
  return createServer((socket) => {
    const info = { server_id: "x", version, go: "go", proto: 1, client_id: 1, max_payload: 1_000 };
    socket.write(`INFO ${JSON.stringify(info)}\r\n`);
    socket.on("data", (data) => {
      if (data.includes("PING")) socket.write("PONG\r\n");
    });
    socket.on("error", () => socket.destroy());
  });
}

function stateOf(pid: number): string {
  return execFileSync("ps", ["-o", "state=", "-p", `${pid}`], { encoding: "utf8" }).trim();
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

function bytes(value: string): Uint8Array {
  return new TextEncoder().encode(value);
}
