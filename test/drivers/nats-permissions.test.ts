/**
 * What nats.conf and the generated users allow, on a real server: each user can
 * do what it must, and an app can reach nothing of another's.
 */
import { deepEqual, equal, match, ok, rejects, throws } from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { AckPolicy, jetstreamManager, StorageType } from "@nats-io/jetstream";
import { Kvm } from "@nats-io/kv";
import { connect, type Msg, type NatsConnection } from "@nats-io/transport-node";
import { renderApps } from "../../src/main/setup/nats-accounts.js";
import { isReservedAppName } from "../../src/main/setup/nats-users.js";
import type { NatsCredentials } from "../../src/main/setup/private-nats.js";
import { sessionKey, shardOf } from "../../src/protocol/shards.js";
import {
  inboxUserSubject,
  operatorSubject,
  pushUserSubject,
  shardInboxSubject,
  shardPushSubject,
} from "../../src/protocol/subjects.js";
import { encodeToken } from "../../src/protocol/tokens.js";
import { type NatsFixture, startNats } from "../support/nats-server.js";
import { until } from "../support/until.js";

const operatorAddress = operatorSubject("idc1-a", "i1");
/** An app whose name a subject, a configuration and a shell would each like to read otherwise. */
const awkward = "o'neil & $co. 100%";

let nats: NatsFixture;
let node: NatsConnection;

before(async () => {
  nats = await startNats({ apps: ["a", "b", encodeToken(awkward)], operators: ["ada", "bob"] });
  node = await connectAs(nats.credentials.node);
  const buckets = new Kvm(node);
  await (await buckets.create("placement")).put("table", "placed");
  await (await buckets.create("apps")).put("a", "registered");
  const manager = await jetstreamManager(node);
  await manager.streams.add({
    name: "LANES",
    subjects: ["lane.>"],
    storage: StorageType.File,
  });
});

after(async () => {
  await node?.close();
  await nats?.stop();
});

function connectAs(credentials: NatsCredentials): Promise<NatsConnection> {
  return connect({ servers: nats.url, ...credentials, reconnect: false });
}

/** A subscription's callback that answers each message with `answer`. */
function answerWith(answer: string) {
  return (_: Error | null, message: Msg) => {
    message.respond(answer);
  };
}

/** A subscription's callback that notes what it is sent; a refusal comes as an error. */
function noteIn(seen: string[]) {
  return (error: Error | null, message: Msg) => {
    if (error === null) seen.push(message.subject);
  };
}

/** What the server refused while `act` ran; it answers in order, so a flush shows all. */
async function refusalsOf(connection: NatsConnection, act: () => void): Promise<string[]> {
  const refusals: string[] = [];
  const status = connection.status();
  const reading = (async () => {
    for await (const event of status) {
      if (event.type === "error") refusals.push(event.error.message);
    }
  })();
  act();
  await connection.flush();
  (status as AsyncIterable<unknown> & { stop(): void }).stop();
  await reading;
  return refusals;
}

function publishRefusals(connection: NatsConnection, subject: string): Promise<string[]> {
  return refusalsOf(connection, () => connection.publish(subject, "x"));
}

function subscribeRefusals(connection: NatsConnection, subject: string): Promise<string[]> {
  return refusalsOf(connection, () => {
    // Its end with an error is the refusal that the status reports as well.
    connection.subscribe(subject, { callback: () => undefined }).closed.catch(() => undefined);
  });
}

/** All that arrives for `connection` on these subjects until `stop`. */
async function witness(connection: NatsConnection, subjects: readonly string[]) {
  const seen: string[] = [];
  const subscriptions = subjects.map((subject) =>
    connection.subscribe(subject, { callback: noteIn(seen) }),
  );
  await connection.flush();
  return {
    seen,
    async stop() {
      await connection.flush();
      for (const subscription of subscriptions) subscription.unsubscribe();
      return seen;
    },
  };
}

/** One message from a fresh subscription, once `act` has caused it. */
async function received(
  connection: NatsConnection,
  subject: string,
  act: () => unknown,
): Promise<Msg> {
  const subscription = connection.subscribe(subject, { max: 1 });
  await connection.flush();
  act();
  for await (const message of subscription) return message;
  throw new Error(`nothing came on ${subject}`);
}

describe("an app's NATS user", () => {
  for (const app of ["a", awkward]) {
    test(`requests a push of ${app} and gets the owner's answer`, async () => {
      const token = encodeToken(app);
      const service = await connectAs(nats.credentials.app(token));
      const asked: string[] = [];
      const owner = node.subscribe("shard.*.>", {
        callback: (_, message) => {
          asked.push(message.subject);
          message.respond(`{"ok":true}`);
        },
      });
      await node.flush();
      const shard = shardOf(token, encodeToken("alice"));
      const mapped = shardPushSubject(shard, sessionKey(token, encodeToken("alice")));
      const inbox = shardInboxSubject(shard, sessionKey(token, encodeToken("alice")));
      for (const subject of [pushUserSubject(app, "alice"), inboxUserSubject(app, "alice")]) {
        const answer = await service.request(subject, "{}", { timeout: 2000 });
        equal(answer.string(), `{"ok":true}`);
      }
      deepEqual(asked, [mapped, inbox]);
      owner.unsubscribe();
      await service.close();
    });
  }

  test("pushes to many, with the answer of the node that took the command", async () => {
    const service = await connectAs(nats.credentials.app("a"));
    for (const subject of ["push.a.users", "push.a.group.g1", "push.a.all"]) {
      const worker = node.subscribe(subject, {
        queue: "commands",
        callback: answerWith("taken"),
      });
      await node.flush();
      equal((await service.request(subject, "{}", { timeout: 2000 })).string(), "taken");
      worker.unsubscribe();
    }
    await service.close();
  });

  test("publishes onto a lane and gets the stream's PubAck", async () => {
    const service = await connectAs(nats.credentials.app("a"));
    const ack = await service.request("lane.high.a.user.alice", "{}", { timeout: 2000 });
    equal(ack.json<{ stream: string }>().stream, "LANES");
    await service.close();
  });

  test("takes its stored events from a consumer that an operator made, and no other's", async () => {
    const manager = await jetstreamManager(node);
    await manager.streams.add({
      name: "EVENTS",
      subjects: ["event.>"],
      storage: StorageType.File,
    });
    const stored = (subject: string) => node.request(subject, "{}", { timeout: 2000 });
    for (const subject of ["event.a.receipt.1", "event.b.receipt.2", "event.a.receipt.3"]) {
      await stored(subject);
    }
    await manager.consumers.add("EVENTS", {
      durable_name: "a",
      filter_subject: "event.a.>",
      deliver_subject: "deliver.a.events",
      ack_policy: AckPolicy.Explicit,
    });
    const service = await connectAs(nats.credentials.app("a"));
    const seen: string[] = [];
    service.subscribe("_INBOX_a.events", {
      callback: (_, message) => {
        seen.push(message.subject);
        // Its acknowledgement: an answer to what was received, which it may give.
        message.respond("+ACK");
      },
    });
    await until("all of its events were acknowledged", async () => {
      const { ack_floor, num_pending } = await manager.consumers.info("EVENTS", "a");
      return num_pending === 0 && ack_floor.consumer_seq === 2;
    });
    deepEqual(seen, ["event.a.receipt.1", "event.a.receipt.3"]);
    for (const request of [
      "$JS.API.STREAM.INFO.EVENTS",
      "$JS.API.STREAM.MSG.GET.EVENTS",
      "$JS.API.DIRECT.GET.EVENTS.event.b.receipt.2",
      "$JS.API.CONSUMER.CREATE.EVENTS.mine.event.b.>",
      "$JS.API.CONSUMER.DURABLE.CREATE.EVENTS.mine",
      "$JS.API.CONSUMER.MSG.NEXT.EVENTS.a",
      "event.a.receipt.4",
    ]) {
      equal((await publishRefusals(service, request)).length, 1, request);
    }
    await service.close();
    await manager.streams.delete("EVENTS");
  });

  test("receives its events and answers its uplinks, once each", async () => {
    const service = await connectAs(nats.credentials.app("a"));
    const event = await received(service, "event.a.>", () =>
      node.publish("event.a.user.alice.online"),
    );
    equal(event.subject, "event.a.user.alice.online");

    const uplinks = service.subscribe("uplink.a.>", {
      callback: answerWith("answered"),
    });
    await service.flush();
    const answer = await node.request("uplink.a.chat.alice", "{}", { timeout: 2000 });
    equal(answer.string(), "answered");
    uplinks.unsubscribe();

    const question = await received(service, "uplink.a.>", () =>
      node.publish("uplink.a.chat.alice", "{}", {
        reply: `${nats.credentials.node.inboxPrefix}.once`,
      }),
    );
    deepEqual(await refusalsOf(service, () => question.respond("first")), []);
    equal((await refusalsOf(service, () => question.respond("second"))).length, 1);
    await service.close();
  });

  /** Everything below is another's or the platform's. */
  const mayNotPublish = [
    pushUserSubject("b", "alice"),
    pushUserSubject(awkward, "alice"),
    shardPushSubject(shardOf("b", "alice"), sessionKey("b", "alice")),
    // As the platform sees it: what is mapped to them comes from beyond the app's account.
    shardPushSubject(shardOf("a", "alice"), sessionKey("a", "alice")),
    shardInboxSubject(shardOf("a", "alice"), sessionKey("a", "alice")),
    "push.b.users",
    "push.b.all",
    "push.b.group.g1",
    "push.a",
    "shard.7.push.b.alice",
    inboxUserSubject("b", "alice"),
    shardInboxSubject(shardOf("b", "alice"), sessionKey("b", "alice")),
    "shard.7.inbox.b.alice",
    "inbox.a",
    "shard.7.attach.a.alice",
    "shard.7",
    "lane.high.b.user.alice",
    // As a lane stores it, and what a lane could not deliver.
    "laned.high.7.a.alice",
    "laned.high.7.b.alice",
    "dead.high.a.alice",
    "event.a.user.alice.online",
    "event.b.user.alice.online",
    "uplink.a.chat.alice",
    "uplink.b.chat.alice",
    "node.idc1-a.i1.actors",
    operatorAddress,
    "journal.0",
    "$KV.apps.a",
    "$KV.apps.b",
    "$KV.placement.table",
    "$JS.API.INFO",
    "$JS.API.STREAM.NAMES",
    "$JS.API.STREAM.INFO.KV_apps",
    "$JS.API.STREAM.DELETE.KV_placement",
    "$JS.API.STREAM.PURGE.LANES",
    "$JS.API.STREAM.CREATE.mine",
    "$JS.API.STREAM.MSG.GET.LANES",
    "$JS.API.DIRECT.GET.KV_apps.$KV.apps.b",
    "$JS.API.CONSUMER.CREATE.LANES",
    "$JS.API.CONSUMER.CREATE.LANES.mine.lane.high.b.>",
    "$JS.ACK.LANES.c.1.1.1.1.0",
    "$JS.ACK.EVENTS.a.1.1.1.1.0",
    "$JS.FC.LANES.c.x",
    "$JS.FC.EVENTS.a.x",
    "deliver.a.events",
    "_R_.x.y",
    "$SYS.REQ.SERVER.PING",
    "_INBOX.x",
    "_INBOX_a.x",
    "_INBOX_b.x",
    "_INBOX_node.x",
    "_INBOX_op_ada.x",
    "other",
  ];
  const mayNotSubscribe = [
    ">",
    "*",
    "*.>",
    "*.b.>",
    "push.>",
    "push.a.>",
    "push.b.>",
    "shard.>",
    "shard.*.push.a.>",
    "shard.*.push.b.>",
    "lane.>",
    "lane.high.a.>",
    "event.>",
    "event.*.user.*.online",
    "event.b.>",
    "uplink.>",
    "uplink.*.chat.>",
    "uplink.b.>",
    "node.>",
    "journal.>",
    "$KV.>",
    "$KV.apps.b",
    "$JS.>",
    "$JS.API.>",
    "$JS.EVENT.>",
    "$SYS.>",
    "_INBOX.>",
    "_INBOX.*.*",
    "_INBOX_b.>",
    "_INBOX_node.>",
    "_INBOX_op_ada.>",
    "deliver.>",
    "_R_.>",
    "*.*.*",
  ];

  test("can publish to nothing of another's or the platform's", async () => {
    const intruder = await connectAs(nats.credentials.app("a"));
    const other = await connectAs(nats.credentials.app("b"));
    const atOther = await witness(other, ["event.b.>", "uplink.b.>", "_INBOX_b.>"]);
    const atNode = await witness(node, ["shard.>", "node.>", "push.>", "$KV.>", "_INBOX_node.>"]);
    for (const subject of mayNotPublish) {
      const refusals = await publishRefusals(intruder, subject);
      equal(refusals.length, 1, `${subject} must be refused`);
      match(refusals[0] ?? "", /permissions violation/i);
    }
    deepEqual(await atOther.stop(), []);
    deepEqual(await atNode.stop(), []);
    await intruder.close();
    await other.close();
  });

  test("can subscribe to nothing of another's or the platform's, queue groups included", async () => {
    const intruder = await connectAs(nats.credentials.app("a"));
    for (const subject of mayNotSubscribe) {
      const refusals = await subscribeRefusals(intruder, subject);
      equal(refusals.length, 1, `${subject} must be refused`);
    }
    const asWorker = await refusalsOf(intruder, () => {
      const options = { queue: "commands", callback: () => undefined };
      intruder.subscribe("push.a.users", options).closed.catch(() => undefined);
    });
    equal(asWorker.length, 1);
    await intruder.close();
  });

  test("cannot sniff the answer to another app's push", async () => {
    const intruder = await connectAs(nats.credentials.app("a"));
    const victim = await connectAs(nats.credentials.app("b"));
    const seen: string[] = [];
    for (const subject of [">", "_INBOX_b.>", "_INBOX.>"]) {
      intruder.subscribe(subject, { callback: noteIn(seen) }).closed.catch(() => undefined);
    }
    await intruder.flush();
    const owner = node.subscribe("shard.*.push.b.>", {
      callback: answerWith("secret"),
    });
    await node.flush();
    equal((await victim.request("push.b.user.x", "{}", { timeout: 2000 })).string(), "secret");
    await intruder.flush();
    deepEqual(seen, []);
    owner.unsubscribe();
    await victim.close();
    await intruder.close();
  });

  test("does not open with another's password, with none, or without a user", async () => {
    const { pass } = nats.credentials.app("b");
    await rejects(connect({ servers: nats.url, user: "app-a", pass, reconnect: false }));
    await rejects(connect({ servers: nats.url, user: "app-a", pass: "", reconnect: false }));
    await rejects(connect({ servers: nats.url, reconnect: false }));
  });
});

describe("an operator's NATS user", () => {
  test("reads and watches the buckets and writes the app registry", async () => {
    const operator = await connectAs(nats.credentials.operator);
    const buckets = new Kvm(operator);
    const placement = await buckets.open("placement");
    equal((await placement.get("table"))?.string(), "placed");
    const apps = await buckets.open("apps");
    await apps.put("c", "one");
    equal((await apps.get("c"))?.string(), "one");
    await apps.update("c", "two", (await apps.get("c"))?.revision ?? 0);
    const keys = [];
    for await (const key of await apps.keys()) keys.push(key);
    deepEqual(keys.sort(), ["a", "c"]);
    const watch = await apps.watch({ key: "c" });
    for await (const entry of watch) {
      equal(entry.string(), "two");
      break;
    }
    await apps.delete("c");
    const history = await apps.history({ key: "c" });
    for await (const entry of history) equal(entry.operation, "DEL");
    await operator.close();
  });

  test("pushes on an app's behalf and asks a node, which answers", async () => {
    const operator = await connectAs(nats.credentials.operator);
    const answering = ["shard.*.push.a.>", "shard.*.inbox.a.>", operatorAddress].map((subject) =>
      node.subscribe(subject, { callback: answerWith("done") }),
    );
    await node.flush();
    const may = ["push.a.user.alice", "shard.1.push.a.alice", "inbox.a.user.alice"];
    for (const subject of [...may, "shard.1.inbox.a.alice", operatorAddress]) {
      equal((await operator.request(subject, "{}", { timeout: 2000 })).string(), "done");
    }
    for (const subscription of answering) subscription.unsubscribe();
    await operator.close();
  });

  test("can neither write the placement nor speak to actors", async () => {
    const operator = await connectAs(nats.credentials.operator);
    const mayNot = [
      "$KV.placement.table",
      "$KV.placement.leader",
      "$JS.API.STREAM.DELETE.KV_apps",
      "$JS.API.STREAM.PURGE.KV_apps",
      "$JS.API.STREAM.CREATE.mine",
      "$JS.API.STREAM.UPDATE.KV_apps",
      "$JS.API.STREAM.INFO.LANES",
      "node.idc1-a.i1.actors",
      "shard.7.attach.a.alice",
      "event.a.user.alice.online",
      "uplink.a.chat.alice",
      "lane.high.a.user.alice",
      "journal.0",
      "$JS.API.STREAM.INFO.JOURNAL",
      "$JS.API.CONSUMER.CREATE.JOURNAL",
      "dead.high.a.alice",
      "$KV.lanes.high",
      "_INBOX_node.x",
    ];
    for (const subject of mayNot) {
      equal((await publishRefusals(operator, subject)).length, 1, `${subject} must be refused`);
    }
    const mayNotHear = [
      ">",
      "journal.>",
      "push.>",
      "shard.>",
      "node.>",
      "event.>",
      "$KV.>",
      "_INBOX_op_bob.>",
    ];
    for (const subject of mayNotHear) {
      equal((await subscribeRefusals(operator, subject)).length, 1, `${subject} must be refused`);
    }
    await operator.close();
  });
});

describe("the nodes' NATS user", () => {
  test("speaks to nodes, shards and services, and keeps the buckets", async () => {
    const may = [
      "dead.high.a.alice",
      "$KV.lanes.high",
      "shard.7.attach.a.alice",
      "shard.7.push.a.alice",
      "node.idc1-a.i1.actors",
      "event.b.user.alice.online",
      "uplink.b.chat.alice",
      "journal.63",
      "_R_.x.y",
      "_INBOX_op_bob.x",
      "_INBOX_node.x",
    ];
    for (const subject of may) deepEqual(await publishRefusals(node, subject), [], subject);
    const table = await new Kvm(node).open("placement");
    const first = await table.create("node.idc1-a", "one");
    await table.update("node.idc1-a", "two", first);
    await rejects(table.update("node.idc1-a", "three", first), "a compare-and-set that must fail");
    await table.purge("node.idc1-a");
  });

  test("may not do what no node does", async () => {
    const strange = ["other", "$SYS.REQ.SERVER.PING", "_INBOX.x", "_INBOX_a.x", "deliver.a.events"];
    for (const subject of strange) {
      equal((await publishRefusals(node, subject)).length, 1, `${subject} must be refused`);
    }
    for (const subject of [">", "event.>", "uplink.>", "_INBOX_a.>", "$SYS.>"]) {
      equal((await subscribeRefusals(node, subject)).length, 1, `${subject} must be refused`);
    }
  });
});

describe("the generated users", () => {
  test("an app added while the server runs can push, and nobody's connection is cut", async () => {
    await using running = await startNats({ apps: ["first"] });
    const at = { servers: running.url, reconnect: false };
    const keeper = await connect({ ...at, ...running.credentials.node });
    keeper.subscribe("shard.*.push.>", { callback: answerWith("stored") });
    const first = await connect({ ...at, ...running.credentials.app("first") });
    const held: Msg[] = [];
    keeper.subscribe("shard.*.inbox.>", { callback: (_, message) => void held.push(message) });
    const told: string[] = [];
    first.subscribe("event.first.>", { callback: noteIn(told) });
    await Promise.all([keeper.flush(), first.flush()]);
    const early = first.request("inbox.first.user.u", "{}", { timeout: 5000 });
    await until("the question has come", () => held.length > 0);
    await running.addApps(["second"]);
    held[0]?.respond("asked before, answered behind it");
    equal((await early).string(), "asked before, answered behind it");
    keeper.publish("event.first.receipt.1");
    const second = await connect({ ...at, ...running.credentials.app("second") });
    for (const [service, app] of [
      [first, "first"],
      [second, "second"],
    ] as const) {
      const answer = await service.request(`push.${app}.user.u`, "{}", { timeout: 2000 });
      equal(answer.string(), "stored");
    }
    // What came before the answers that have come since.
    deepEqual(told, ["event.first.receipt.1"]);
    ok(!keeper.isClosed());
    for (const connection of [keeper, first, second]) await connection.close();
  });

  test("keep their passwords and their data over a kill and a restart", async () => {
    await using running = await startNats({ apps: ["demo"] });
    const at = { servers: running.url, reconnect: false };
    const before = await connect({ ...at, ...running.credentials.node });
    await (await new Kvm(before).create("apps")).put("demo", "kept");
    const { pid } = running;
    const cut = before.closed();
    running.kill("SIGKILL");
    await cut;
    await running.restart();
    ok(running.pid !== pid);
    const again = await connect({ ...at, ...running.credentials.node });
    equal((await (await new Kvm(again).open("apps")).get("demo"))?.string(), "kept");
    await again.close();
  });

  test("refuse names that would share an inbox or break the file", () => {
    ok(isReservedAppName("node"));
    ok(isReservedAppName("op_ada"));
    for (const app of ["node", "op_ada", "", "%", "a.b", "a b", ">", "*", 'x"', "x\\", "x\n"]) {
      const spec = { nodePassword: "n", operators: [], apps: [{ app, password: "p" }] };
      throws(() => renderApps(spec), /not the name of an app/, `${app} must be refused`);
    }
    const twice = { app: "a", password: "p" };
    const doubled = { nodePassword: "n", operators: [], apps: [twice, twice] };
    throws(() => renderApps(doubled), /two users of one name/);
  });
});
