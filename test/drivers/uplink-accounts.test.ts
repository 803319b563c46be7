/**
 * Answers to clients' calls, between the accounts of a real server: from the service that was
 * asked, once, and from nobody else.
 */
import { deepEqual, equal, match, ok, rejects } from "node:assert/strict";
import { after, afterEach, before, describe, test } from "node:test";
import { connect, type Msg, type NatsConnection } from "@nats-io/transport-node";
import { NatsBus } from "../../src/drivers/nats-bus.js";
import { connectNats } from "../../src/drivers/nats-connection.js";
import { renderApps } from "../../src/main/setup/nats-accounts.js";
import { callDeadlineMsMax } from "../../src/protocol/call-frames.js";
import { type NatsFixture, startNats } from "../support/nats-server.js";
import { until } from "../support/until.js";

let nats: NatsFixture;
let node: NatsConnection;
const opened: NatsConnection[] = [];

before(async () => {
  nats = await startNats({ apps: ["a", "b"], operators: ["ada"] });
  node = await connect({ servers: nats.url, ...nats.credentials.node });
});

after(async () => {
  await node?.close();
  await nats?.stop();
});

afterEach(async () => {
  for (const connection of opened.splice(0)) await connection.close();
});

/** Its errors, as the server tells them, are in `denied`. */
async function service(app: string) {
  const connection = await connect({ servers: nats.url, ...nats.credentials.app(app) });
  opened.push(connection);
  const denied: string[] = [];
  void (async () => {
    for await (const status of connection.status()) {
      if (status.type === "error") denied.push(status.error.message);
    }
  })();
  return { connection, denied };
}

/** One call under way: what the service was sent, and all that came back to the node. */
async function callUnderWay(connection: NatsConnection) {
  const calls: Msg[] = [];
  connection.subscribe("uplink.a.chat.*", { callback: (_, message) => void calls.push(message) });
  await connection.flush();
  const came: string[] = [];
  const inbox = `_INBOX_node.call.${Math.random()}`;
  const subscription = node.subscribe(inbox, {
    callback: (_, message) => void came.push(message.string()),
  });
  node.publish("uplink.a.chat.alice", "{}", { reply: inbox });
  const call = await until("the service is called", () => calls[0]);
  return { call, came, end: () => subscription.unsubscribe() };
}

describe("an uplink's answer", () => {
  test("comes from the app's account, and the service never sees where it goes", async () => {
    const { connection } = await service("a");
    const { call, came, end } = await callUnderWay(connection);
    match(call.reply ?? "", /^_R_\./);
    call.respond("answer");
    await until("the answer is there", () => came.length > 0);
    deepEqual(came, ["answer"]);
    end();
  });

  test("comes once: a second one is denied, and reaches nobody", async () => {
    const { connection, denied } = await service("a");
    const { call, came, end } = await callUnderWay(connection);
    for (const answer of ["first", "second", "third"]) call.respond(answer);
    await until("the others are denied", () => denied.length >= 2);
    await node.flush();
    deepEqual(came, ["first"]);
    ok(denied.every((text) => /permissions violation for publish/i.test(text)));
    end();
  });

  test("is given by who was asked, not by another app, nor by another connection", async () => {
    const asked = await service("a");
    const { call, came, end } = await callUnderWay(asked.connection);
    for (const other of [await service("b"), await service("a")]) {
      other.connection.publish(call.reply ?? "", "forged");
      await until("it is denied", () => other.denied.length > 0);
    }
    equal(asked.denied.length, 0);
    call.respond("true");
    await until("the answer is there", () => came.length > 0);
    deepEqual(came, ["true"]);
    end();
  });

  test("is all that it can say: no call, no frame for nodes, no message of the platform", async () => {
    const { connection, denied } = await service("a");
    const heard: string[] = [];
    const ears = ["node.>", "shard.>", "_INBOX_node.>"].map((subject) =>
      node.subscribe(subject, { callback: (_, { subject: of }) => void heard.push(of) }),
    );
    await node.flush();
    const subjects = ["uplink.a.chat.bob", "node.x.i.actors", "_INBOX_node.mine", "_R_.x.y"];
    for (const subject of subjects) connection.publish(subject, "{}");
    await until("all are denied", () => denied.length === subjects.length);
    await node.flush();
    deepEqual(heard, []);
    for (const ear of ears) ear.unsubscribe();
  });

  test("may take as long as a call may wait", () => {
    const apps = [{ app: "a", password: "secret" }];
    const text = renderApps({ nodePassword: "n", operators: [], apps });
    const bounds = [...text.matchAll(/"(?:expires|threshold)": "(\d+)s"/g)].map(([, s]) =>
      Number(s),
    );
    equal(bounds.length, 2);
    ok(bounds.every((seconds) => seconds * 1_000 > callDeadlineMsMax));
  });
});

describe("the bus", () => {
  test("tells a call by a route that nobody handles from one that nobody answers", async () => {
    const { user, pass, inboxPrefix } = nats.credentials.node;
    const link = await connectNats({ url: nats.url, name: "t", user, password: pass, inboxPrefix });
    const bus = new NatsBus(link);
    const { connection } = await service("a");
    connection.subscribe("uplink.a.silent.*", { callback: () => undefined });
    await connection.flush();
    const ask = (route: string, withinMs: number) =>
      bus.request(`uplink.a.${route}.alice`, new Uint8Array(), withinMs);
    await rejects(ask("none", 30_000), { code: "NO_RESPONDERS", outcome: "not-done" });
    await rejects(ask("silent", 500), { code: "TIMEOUT", outcome: "unknown" });
    await link.close();
  });
});
