/** The stream of events on a real server: what its subscribers say, and what it does when it is gone. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { jetstreamManager } from "@nats-io/jetstream";
import { type NatsConnection as Client, connect } from "@nats-io/transport-node";
import { Fault } from "../../src/base/result.js";
import { connectNats, type NatsConnection } from "../../src/drivers/nats-connection.js";
import { eventStream, openEvents } from "../../src/drivers/nats-events.js";
import type { EventLog, LoggedEvent } from "../../src/ports/event-log.js";
import { type NatsFixture, startNats } from "../support/nats-server.js";
import { storedEvents } from "../support/stored-events.js";
import { until } from "../support/until.js";

const eventNamed = (name: string) => ({
  subject: `event.demo.receipt.${name}`,
  id: `dc1-1-${name}-0`,
  payload: new TextEncoder().encode(name),
});

describe("the stream of events", () => {
  let nats: NatsFixture;
  let connection: NatsConnection;
  let service: Client;
  let events: EventLog;

  before(async () => {
    nats = await startNats({ apps: ["demo"] });
    const { user, pass: password, inboxPrefix } = nats.credentials.node;
    connection = await connectNats({ url: nats.url, name: "test", user, password, inboxPrefix });
    service = await connect({ servers: nats.url, ...nats.credentials.app("demo") });
    events = await openEvents(connection);
  });

  after(async () => {
    await service?.close();
    await connection?.close();
    await nats?.stop();
  });

  const published = (event: LoggedEvent) =>
    events.publish(event).then(
      () => true,
      () => false,
    );

  test("hears nothing of what a subscriber answers in its place", async () => {
    const manager = await jetstreamManager(connection.client);
    await manager.streams.delete(eventStream);
    const heard: string[] = [];
    const says = ["thanks", '{"error":{"code":503}}', '{"stream":"OTHER","seq":1}'];
    const subscriptions = says.map((text) =>
      service.subscribe("event.demo.>", {
        callback: (_, message) => {
          heard.push(message.subject);
          message.respond(text);
        },
      }),
    );
    await service.flush();
    const event = eventNamed("answered");
    await assert.rejects(events.publish(event), (cause) => cause instanceof Fault);
    await until("the stream has it", () => published(event));
    assert.ok(heard.length > says.length, "the service heard it, and answered, each time");
    for (const subscription of subscriptions) subscription.unsubscribe();
    await service.flush();
    assert.equal((await storedEvents(connection)).length, 1);
  });

  test("is made again when it is gone", async () => {
    const manager = await jetstreamManager(connection.client);
    await manager.streams.delete(eventStream);
    const event = eventNamed("again");
    await assert.rejects(events.publish(event), (cause) => cause instanceof Fault);
    await until("it takes events again", () => published(event));
    assert.equal((await storedEvents(connection)).length, 1);
  });
});
