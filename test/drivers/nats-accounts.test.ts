/**
 * The reply subjects of an app, on a real server: NATS checks none of them, and JetStream
 * and nodes answer wherever they are told to. No answer leaves the account of its app.
 */
import { deepEqual, equal, rejects } from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { AckPolicy, type JetStreamManager, jetstreamManager } from "@nats-io/jetstream";
import { Kvm } from "@nats-io/kv";
import { connect, type NatsConnection } from "@nats-io/transport-node";
import type { NatsCredentials } from "../../src/main/setup/private-nats.js";
import { isReplySubject } from "../../src/protocol/subjects.js";
import { type NatsFixture, startNats } from "../support/nats-server.js";
import { until } from "../support/until.js";

let nats: NatsFixture;
let node: NatsConnection;
let attacker: NatsConnection;
let other: NatsConnection;
let streams: JetStreamManager;
/** What anybody but the attacker was sent. */
const heard: string[] = [];

before(async () => {
  nats = await startNats({ apps: ["a", "b"], operators: ["ada"] });
  [node, attacker, other] = (await Promise.all(
    [nats.credentials.node, nats.credentials.app("a"), nats.credentials.app("b")].map(connectAs),
  )) as [NatsConnection, NatsConnection, NatsConnection];
  streams = await jetstreamManager(node);
  const buckets = new Kvm(node);
  for (const name of ["apps", "placement"]) {
    const bucket = await buckets.create(name, { history: 5 });
    for (const key of ["a", "b", "table"]) await bucket.put(key, "kept");
  }
  await streams.streams.add({ name: "LANES", subjects: ["lane.>"] });
  await streams.streams.add({ name: "LANE_DEAD", subjects: ["dead.>"] });
  await streams.streams.add({ name: "EVENTS", subjects: ["event.>"] });
  await streams.consumers.add("EVENTS", {
    durable_name: "b",
    filter_subject: "event.b.>",
    deliver_subject: "deliver.b.events",
    ack_policy: AckPolicy.Explicit,
  });
  await node.request("event.b.receipt.1", "{}", { timeout: 20_000 });
  // An owner that answers whatever it is asked, with no look at where to.
  node.subscribe("shard.*.*.a.*", {
    callback: (_, message) => {
      message.respond(`{"ok":true}`);
    },
  });
  const note = (_: Error | null, { subject }: { subject: string }) => void heard.push(subject);
  for (const each of ["shard.*.*.b.*", "shard.*.attach.>", "node.>", "_INBOX_node.mine.*"]) {
    node.subscribe(each, { callback: note });
  }
  for (const each of ["event.b.forged", "uplink.b.>", "_INBOX_b.mine"]) {
    other.subscribe(each, { callback: note });
  }
  await Promise.all([node.flush(), other.flush()]);
});

after(async () => {
  for (const each of [node, attacker, other]) await each?.close();
  await nats?.stop();
});

function connectAs(credentials: NatsCredentials): Promise<NatsConnection> {
  return connect({ servers: nats.url, ...credentials, reconnect: false });
}

/** How many messages each stream has, and which was its first. */
async function contents(): Promise<Record<string, string>> {
  const found: Record<string, string> = {};
  for await (const { config, state } of streams.streams.list()) {
    found[config.name] = `${state.messages} from ${state.first_seq}`;
  }
  return found;
}

/** Where an answer of JetStream, or of a node, would do harm. */
const orders = [
  "$JS.API.STREAM.PURGE.KV_apps",
  "$JS.API.STREAM.DELETE.KV_placement",
  "$JS.API.STREAM.PURGE.EVENTS",
  "$JS.API.CONSUMER.DELETE.EVENTS.b",
  "$KV.apps.b",
  "$KV.placement.table",
  "event.b.forged",
  "uplink.b.chat.alice",
  "push.b.user.alice",
  "inbox.b.user.alice",
  "shard.7.push.b.alice",
  "shard.7.attach.a.alice",
  "node.idc1-a.i1.actors",
  "dead.high.b.alice",
  "_INBOX_node.mine.1",
  "_INBOX_b.mine",
];

describe("an app's reply subject", () => {
  for (const subject of ["lane.high.a.user.alice", "push.a.user.alice", "inbox.a.user.alice"]) {
    test(`with ${subject} is no way to what is another's`, async () => {
      const before = await contents();
      for (const reply of [...orders, "lane.high.b.user.alice"]) {
        attacker.publish(subject, "{}", { reply });
      }
      // Answers leave in order: the last one's means that the others' are on their way.
      await attacker.request(subject, "{}", { timeout: 20_000 });
      await Promise.all([attacker.flush(), node.flush(), other.flush()]);
      const taken = subject.startsWith("lane.") ? orders.length + 2 : 0;
      const { LANES: lane, ...others } = await contents();
      const { LANES: laneBefore, ...othersBefore } = before;
      deepEqual(others, othersBefore);
      equal(lane, `${Number.parseInt(laneBefore ?? "", 10) + taken} from 1`);
      equal((await streams.consumers.info("EVENTS", "b")).num_ack_pending, 0);
      deepEqual(heard, []);
    });
  }

  test("may be an ack only where the app was asked for one", async () => {
    const service = await connectAs(nats.credentials.app("a"));
    service.publish("push.a.user.alice", "{}", { reply: "$JS.ACK.EVENTS.b.1.1.1.1.0" });
    await rejects(async () => {
      for await (const event of service.status()) {
        if (event.type === "error") throw event.error;
      }
    }, /Permissions Violation for Publish with Reply/);
    await service.close();
    // A node would not answer there either: it is the one name that passes as it is.
    equal(isReplySubject("a", "$JS.ACK.EVENTS.b.1.1.1.1.0"), false);
  });
});

describe("between the accounts", () => {
  test("who asks where nobody listens is told so at once, in both directions", async () => {
    await rejects(attacker.request("lane.none", "{}", { timeout: 20_000 }));
    const alone = await connectAs(nats.credentials.app("b"));
    await rejects(alone.request("push.b.users", "{}", { timeout: 20_000 }), /no responders/i);
    await rejects(node.request("uplink.a.chat.alice", "{}", { timeout: 20_000 }), /no responders/i);
    await alone.close();
  });

  test("an app's connections share its events in a queue group, and nobody else's", async () => {
    const seen: string[] = [];
    const workers = await Promise.all([1, 2].map(() => connectAs(nats.credentials.app("a"))));
    for (const [at, worker] of workers.entries()) {
      worker.subscribe("event.a.>", { queue: "workers", callback: () => void seen.push(`a${at}`) });
      await worker.flush();
    }
    const whole: string[] = [];
    attacker.subscribe("event.a.>", { callback: (_, { subject }) => void whole.push(subject) });
    await attacker.flush();
    for (let n = 0; n < 20; n++) node.publish(`event.a.receipt.${n}`);
    await node.flush();
    await until("all were told once", () => seen.length >= 20 && whole.length >= 20);
    equal(seen.length, 20);
    for (const worker of workers) await worker.close();
  });
});
