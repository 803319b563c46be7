/** The services' SDK over the real client and a real server: headers, PubAcks, events. */
import { deepEqual, equal, ok } from "node:assert/strict";
import { after, before, test } from "node:test";
import {
  DiscardPolicy,
  type JetStreamManager,
  jetstreamManager,
  type StreamConfig,
} from "@nats-io/jetstream";
import { connect, type NatsConnection } from "@nats-io/transport-node";
import { createService, type Receipt, type Service } from "../../src/client/service-client.js";
import { unpackValue } from "../../src/protocol/codec.js";
import { type NatsFixture, startNats } from "../support/nats-server.js";
import { until } from "../support/until.js";

let nats: NatsFixture;
let node: NatsConnection;
let app: NatsConnection;
let streams: JetStreamManager["streams"];
let service: Service;

before(async () => {
  nats = await startNats({ apps: ["demo"] });
  const as = (credentials: object) => connect({ servers: nats.url, ...credentials });
  node = await as(nats.credentials.node);
  app = await as(nats.credentials.app("demo"));
  streams = (await jetstreamManager(node)).streams;
  service = createService({ connection: app, app: "demo" });
});

after(async () => {
  await app?.close();
  await node?.close();
  await nats?.stop();
});

function addLane(lane: string, config: Partial<StreamConfig> = {}) {
  return streams.add({ name: `LANE_${lane}`, subjects: [`lane.${lane}.>`], ...config });
}

test("a lane's stream has the push as it was given, and a repeat: its key tells them", async () => {
  await addLane("high");
  const lane = service.lane("high");
  const push = { body: { order: 17 }, id: "order 17" };
  const first = await lane.push("anna.k", push);
  const again = await lane.push("anna.k", push);
  const other = await lane.push("bob", push);
  deepEqual(first, { ok: true, stream: "LANE_high", seq: 1 });
  deepEqual(again, { ok: true, stream: "LANE_high", seq: 2 });
  deepEqual(other, { ok: true, stream: "LANE_high", seq: 3 });
  const kept = await streams.getMessage("LANE_high", { seq: 1 });
  // An id there would be one of all apps: another's could swallow it.
  equal(kept?.header?.get("Nats-Msg-Id") ?? "", "");
  equal(kept?.subject, "lane.high.demo.user.anna%2Ek");
  deepEqual(unpackValue(kept?.data ?? new Uint8Array()), push);
});

test("a lane that takes no more says so, and takes again once there is room", async () => {
  await addLane("small", { max_msgs: 1, discard: DiscardPolicy.New });
  const lane = service.lane("small");
  ok((await lane.push("a", { body: 1 })).ok);
  const full = await lane.push("a", { body: 2 }, { deadlineMs: 3_000 });
  equal(!full.ok && full.code, "LANE_FULL");
  const waiting = lane.push("a", { body: 3 }, { deadlineMs: 20_000 });
  await streams.purge("LANE_small");
  ok((await waiting).ok);
});

test("a lane without a stream is unknown", async () => {
  const answer = await service.lane("none").push("a", { body: 1 }, { deadlineMs: 3_000 });
  equal(!answer.ok && answer.code, "LANE_UNKNOWN");
});

test("receipts arrive for the app that subscribes, until it ends", async () => {
  const seen: Receipt[] = [];
  const subscription = service.receipts((receipt) => void seen.push(receipt));
  await app.flush();
  const receipt = { v: 1, kind: "acked", id: "0DGZRG3G80100001", uid: "a", atMs: 5 };
  node.publish("event.other.receipt.0DGZRG3G80100001", JSON.stringify(receipt));
  node.publish("event.demo.receipt.0DGZRG3G80100001", JSON.stringify(receipt));
  await until("it is there", () => seen.length > 0);
  subscription.unsubscribe();
  await app.flush();
  node.publish("event.demo.receipt.0DGZRG3G80100001", JSON.stringify(receipt));
  await node.flush();
  await app.flush();
  deepEqual(seen, [receipt]);
});
