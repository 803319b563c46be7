/**
 * The bus is gone for longer than a lease: sockets stay open and hear heartbeats, and
 * when it is back everything goes on by itself, in order, nothing lost and nothing twice.
 */
import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { WebSocket } from "ws";
import { JwtTokens } from "../../src/drivers/jwt-tokens.js";
import { NatsBus } from "../../src/drivers/nats-bus.js";
import { connectNats } from "../../src/drivers/nats-connection.js";
import { openKeyValue } from "../../src/drivers/nats-key-value.js";
import { readSettings } from "../../src/main/settings.js";
import type { NatsCredentials } from "../../src/main/setup/private-nats.js";
import { startNode } from "../../src/main/start-node.js";
import { appRecordVersion, encodeAppRecord } from "../../src/protocol/app-record.js";
import { packValue, unpackValue } from "../../src/protocol/codec.js";
import { clientKinds, protocolVersion, serverKinds } from "../../src/protocol/frames.js";
import type { PushAnswer } from "../../src/protocol/push-answer.js";
import { pushUserSubject } from "../../src/protocol/subjects.js";
import { type NatsFixture, startNats } from "../support/nats-server.js";
import { app, secret } from "../support/platform.js";
import { until } from "../support/until.js";

const clientCount = 200;
/** The edge looks once a second. */
const heartbeatMs = 1_000;
/** The clients share the node's process: what holds it up for so long loses them. */
const heartbeatDeadlineMs = 10_000;
const pingsPastDeadline = heartbeatDeadlineMs / heartbeatMs + 2;

/** A client that never comes back by itself: what it is shown came over its one socket. */
class BareClient {
  readonly bodies: unknown[] = [];
  pings = 0;
  isAttached = false;
  isClosed = false;
  readonly socket: WebSocket;
  private lastSeq = 0;

  constructor(
    readonly uid: string,
    url: string,
    token: string,
  ) {
    this.socket = new WebSocket(url, "belfry.v1");
    const hello = { v: protocolVersion, token, device: "phone", connect: 1, start: "all" };
    this.socket.on("open", () => this.send([clientKinds.hello, hello]));
    this.socket.on("message", (data) => this.onFrame(unpackValue(data as Buffer) as unknown[]));
    this.socket.on("close", () => {
      this.isClosed = true;
    });
  }

  private onFrame([kind, first, generation, seq, prev, _id, _head, body]: unknown[]): void {
    if (kind === serverKinds.ping) {
      this.pings++;
      this.send([clientKinds.pong, first]);
    } else if (kind === serverKinds.attached) {
      this.isAttached = true;
      this.lastSeq = seq as number;
    } else if (kind === serverKinds.message) {
      assert.equal(prev, this.lastSeq, "no gap on the wire");
      this.lastSeq = seq as number;
      this.bodies.push(body);
      this.send([clientKinds.ack, 0, generation, seq]);
    }
  }

  private send(frame: unknown[]): void {
    this.socket.send(packValue(frame));
  }
}

function connectAs({ url }: NatsFixture, { user, pass, inboxPrefix }: NatsCredentials) {
  return connectNats({ url, name: "test", user, password: pass, inboxPrefix });
}

test("keeps sockets and heartbeats while NATS is gone, and goes on when it is back", async () => {
  const folder = await mkdtemp(join(tmpdir(), "belfry-test-"));
  await using nats = await startNats({ folder: join(folder, "nats"), apps: [app] });
  const { user, pass, inboxPrefix } = nats.credentials.node;
  const passwordFile = join(folder, "node.password");
  await writeFile(passwordFile, pass, { mode: 0o600 });
  const link = await connectAs(nats, nats.credentials.node);
  const operator = await connectAs(nats, nats.credentials.operator);
  const record = { v: appRecordVersion, app, secrets: [secret], createdAtMs: 0 };
  const apps = await openKeyValue(link, "apps");
  await apps.create(app, encodeAppRecord({ ...record, delivery: "each-device" }));
  const settings = readSettings(
    {
      BELFRY_NATS_URL: nats.url,
      BELFRY_NATS_USER: user,
      BELFRY_NATS_PASSWORD_FILE: passwordFile,
      BELFRY_NATS_INBOX_PREFIX: inboxPrefix,
      BELFRY_DATA_FOLDER: join(folder, "data"),
      BELFRY_PORT: "0",
      BELFRY_LOG_LEVEL: "silent",
    },
    [],
  );
  const node = await startNode(settings, { heartbeatMs, heartbeatDeadlineMs });
  const bus = new NatsBus(operator);
  const push = async (uid: string, body: number): Promise<boolean> => {
    const command = packValue({ body, id: `${body}` });
    const answer = await bus
      .request(pushUserSubject(app, uid), command, 2_000)
      .catch(() => undefined);
    return answer !== undefined && (unpackValue(answer) as PushAnswer).ok;
  };
  const pushAll = (body: number) =>
    Promise.all(
      clients.map(({ uid }) => until(`${uid} accepts ${body}`, () => push(uid, body), 30_000)),
    );
  // Opening volumes keeps the one process of this test busy.
  for (let index = 0; index < 40; index++) await until("it serves", () => push(`u${index}`, 0));
  const tokens = new JwtTokens({ find: () => undefined });
  const exp = Math.floor(Date.now() / 1_000) + 600;
  const clients = await Promise.all(
    Array.from({ length: clientCount }, async (_, index) => {
      const token = await tokens.sign({ app, sub: `u${index}`, exp, jti: `${index}` }, secret);
      return new BareClient(`u${index}`, node.edgeUrl, token);
    }),
  );
  const health = async () => (await fetch(`${node.httpUrl}/healthz`)).text();
  try {
    await until("all are attached", () => clients.every((client) => client.isAttached));
    await pushAll(1);
    nats.kill("SIGKILL");
    await until("the lease has run out", async () => (await health()) === "no lease\n");
    const pings = clients.map((client) => client.pings);
    await until("everybody hears heartbeats", () =>
      clients.every((client, at) => client.pings >= (pings[at] ?? 0) + pingsPastDeadline),
    );
    assert.equal(clients.filter((client) => client.isClosed).length, 0);
    await nats.restart();
    await pushAll(2);
    await pushAll(3);
    await until("all have all", () => clients.every((client) => client.bodies.at(-1) === 3));
    for (const { bodies } of clients) {
      assert.deepEqual(
        bodies.filter((body) => body !== 0),
        [1, 2, 3],
      );
    }
    assert.equal(clients.filter((client) => client.isClosed).length, 0);
    await until("its lease is its own again", async () => (await health()) === "ok\n");
  } finally {
    for (const { socket } of clients) socket.terminate();
    await node.stop();
    await Promise.all([link.close(), operator.close()]);
    await nats.stop();
    await rm(folder, { recursive: true, force: true });
  }
});
