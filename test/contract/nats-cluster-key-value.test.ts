/** The key-value contract on three servers, and what only they can show. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { jetstreamManager } from "@nats-io/jetstream";
import { Fault } from "../../src/base/result.js";
import type { NatsConnection } from "../../src/drivers/nats-connection.js";
import { openKeyValue } from "../../src/drivers/nats-key-value.js";
import type { KeyValue } from "../../src/ports/key-value.js";
import { type NatsCluster, type NatsMember, startNatsCluster } from "../support/nats-cluster.js";
import { startNats } from "../support/nats-server.js";
import { until } from "../support/until.js";
import { keyValueContract } from "./key-value.js";

keyValueContract("NATS cluster", async () => {
  const cluster = await startNatsCluster();
  const connection = await cluster.connectTo(cluster.members[0] as NatsMember);
  let buckets = 0;
  return {
    make: () => untilOpen(connection, `test-${buckets++}`),
    dispose: async () => {
      await connection.close();
      await cluster.stop();
    },
  };
});

/** A cluster may be electing who leads JetStream. */
function untilOpen(connection: NatsConnection, bucket: string): Promise<KeyValue> {
  return until(`the bucket ${bucket} stands`, () =>
    openKeyValue(connection, bucket).catch((cause: Fault) => {
      if (cause.code === "TIMEOUT" || cause.code === "KV_UNAVAILABLE") return undefined;
      throw cause;
    }),
  );
}

const bytes = (value: string) => new TextEncoder().encode(value);

describe("a bucket on a cluster", () => {
  let cluster: NatsCluster;
  let connections: NatsConnection[];
  before(async () => {
    cluster = await startNatsCluster();
    connections = await Promise.all(cluster.members.map((member) => cluster.connectTo(member)));
  });
  after(async () => {
    await Promise.all(connections.map((connection) => connection.close()));
    await cluster.stop();
  });

  const connectionTo = (member: NatsMember) =>
    connections[cluster.members.indexOf(member)] as NatsConnection;
  const notLeading = async (stream: string) => {
    const leader = await cluster.streamLeader(stream);
    return cluster.members.filter((member) => member !== leader) as [NatsMember, NatsMember];
  };

  async function comeBack(...members: readonly NatsMember[]): Promise<void> {
    await Promise.all(members.map((member) => member.restart()));
    await cluster.untilReplicating();
    await until("the connections are back", () =>
      connections.every((connection) => connection.isConnected),
    );
  }

  async function replicasOf(bucket: string): Promise<number> {
    const jsm = await jetstreamManager(connections[0]?.client as NatsConnection["client"]);
    return (await jsm.streams.info(`KV_${bucket}`)).config.num_replicas;
  }

  test("is held by three servers, and so is one that was made with fewer, with its data", async () => {
    const [connection] = connections as [NatsConnection];
    await untilOpen(connection, "fresh");
    assert.equal(await replicasOf("fresh"), 3);
    const small = await openKeyValue(connection, "small", { wanted: 1 });
    await small.create("key", bytes("kept"));
    assert.equal(await replicasOf("small"), 1);
    const grown = await openKeyValue(connection, "small");
    assert.equal(await replicasOf("small"), 3);
    assert.equal(new TextDecoder().decode((await grown.get("key"))?.value), "kept");
    await openKeyValue(connection, "small", { wanted: 1 });
    assert.equal(await replicasOf("small"), 3, "never fewer than before");
  });

  test("is refused where more servers are wanted than there are, and says what there is", async () => {
    const [connection] = connections as [NatsConnection];
    const refused = (cause: Fault) =>
      cause.code === "NATS_UNFIT" && /of 5 wanted/.test(cause.message);
    await assert.rejects(openKeyValue(connection, "wide", { wanted: 5 }), refused);
    await using single = await startNats();
    const { user, pass, inboxPrefix } = single.credentials.node;
    const { connectNats } = await import("../../src/drivers/nats-connection.js");
    const access = { url: single.url, name: "test", user, password: pass, inboxPrefix };
    const alone = await connectNats(access);
    const unclustered = (cause: Fault) =>
      cause.code === "NATS_UNFIT" && /non-clustered/.test(cause.message);
    await assert.rejects(openKeyValue(alone, "placement", { wanted: 3 }), unclustered);
    await alone.close();
  });

  test("takes one server where there are not three, and says so", async () => {
    await using pair = await startNatsCluster({ size: 2 });
    const connection = await pair.connectTo(pair.members[0] as NatsMember);
    const said: string[] = [];
    const kv = await openKeyValue(connection, "few", { onFewer: (text) => void said.push(text) });
    assert.ok((await kv.create("key", bytes("1"))).ok);
    assert.match(said.join(), /the bucket few is held by 0 of 3 wanted servers: no suitable peers/);
    await connection.close();
  });

  // A read from any replica goes to the paused one, too, and is never answered.
  test("is read from its leader alone: a server that is paused costs no read", async () => {
    const [paused, reader] = await notLeading("KV_fresh");
    const kv = await openKeyValue(connectionTo(reader), "fresh");
    const written = await kv.create("read", bytes("0"));
    assert.ok(written.ok);
    let revision = written.value;
    paused.kill("SIGSTOP");
    try {
      for (let round = 1; round <= 50; round++) {
        const updated = await kv.update("read", bytes(String(round)), revision);
        assert.ok(updated.ok);
        revision = updated.value;
        assert.equal((await kv.get("read"))?.revision, revision);
      }
    } finally {
      paused.kill("SIGCONT");
    }
  });

  // The client's own watch would have noticed after more than a minute.
  test("is watched on when the server that feeds the watch is killed", async () => {
    const [feeder, listener] = (await notLeading("KV_fresh")) as [NatsMember, NatsMember];
    const kv = await openKeyValue(connectionTo(listener), "fresh");
    const { told, watches } = await watchFedBy(feeder, kv);
    feeder.kill("SIGKILL");
    await feeder.ended;
    // A conflict is its own: one whose answer was lost.
    await until("the bucket takes a write", () =>
      kv.create("after", bytes("1")).catch(() => undefined),
    );
    await until("it is told", () => told.includes("after"), 30_000);
    for (const stop of watches) stop();
    await comeBack(feeder);
  });

  // The cluster has not noticed yet, and gives the dead server its third of all consumers.
  test("is listed and watched soon after a server was killed, however often one asks", async () => {
    const [dead, reader] = (await notLeading("KV_fresh")) as [NatsMember, NatsMember];
    const kv = await openKeyValue(connectionTo(reader), "fresh");
    dead.kill("SIGKILL");
    await dead.ended;
    let failures = 0;
    for (let round = 0; round < 12; round++) {
      await kv.list("").catch(() => void failures++);
      const stop = await kv.watch("", () => undefined).catch(() => void failures++);
      stop?.();
    }
    // Asked for once, a third of all three dozen would fail.
    assert.ok(failures <= 4, `${failures} of 24 failed`);
    await comeBack(dead);
  });

  /** The server chooses who feeds: watches are begun until one is fed by `member`. */
  async function watchFedBy(member: NatsMember, kv: KeyValue) {
    const jsm = await jetstreamManager(connections[0]?.client as NatsConnection["client"]);
    const watches: (() => void)[] = [];
    const known = new Set<string>();
    for (let attempt = 0; attempt < 40; attempt++) {
      const told: string[] = [];
      watches.push(await kv.watch("", (key) => void told.push(key)));
      for await (const consumer of jsm.consumers.list("KV_fresh")) {
        const isNew = !known.has(consumer.name) && consumer.name.startsWith("follow_");
        known.add(consumer.name);
        if (isNew && consumer.cluster?.leader === member.name) return { told, watches };
      }
    }
    throw new Error(`no watch is fed by ${member.name}`);
  }

  test("faults while it has no leader, with what is known of the outcome, and piles up nothing", async () => {
    const [first, second] = await notLeading("KV_fresh");
    const leader = await cluster.streamLeader("KV_fresh");
    const kv = await openKeyValue(connectionTo(leader), "fresh");
    const entry = await kv.create("lonely", bytes("0"));
    assert.ok(entry.ok);
    for (const member of [first, second]) member.kill("SIGKILL");
    await Promise.all([first.ended, second.ended]);
    const write = kv.update("lonely", bytes("1"), entry.value);
    await assert.rejects(
      write,
      (cause: Fault) => cause instanceof Fault && cause.outcome === "unknown",
    );
    const faults: Fault[] = [];
    await until(
      "what it says is that nobody leads",
      async () => {
        await kv.get("lonely").catch((cause: Fault) => void faults.push(cause));
        return faults.at(-1)?.code === "KV_UNAVAILABLE" ? true : undefined;
      },
      60_000,
    );
    assert.ok(
      faults.every((fault) => fault.outcome === "not-done"),
      "a read does nothing",
    );
    await comeBack(first, second);
    const after = await until("it is read again", () => kv.get("lonely").catch(() => undefined));
    assert.ok(["0", "1"].includes(new TextDecoder().decode(after.value)));
  });
});
