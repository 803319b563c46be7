/** The apps' accounts on three servers: what crosses an account and a route, in both directions. */
import { deepEqual, equal, match } from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { type JetStreamManager, jetstreamManager } from "@nats-io/jetstream";
import { connect, type NatsConnection } from "@nats-io/transport-node";
import type { NatsConnection as NodeConnection } from "../../src/drivers/nats-connection.js";
import { type NatsCluster, type NatsMember, startNatsCluster } from "../support/nats-cluster.js";
import { until } from "../support/until.js";

const patience = { timeout: 10_000 };

let cluster: NatsCluster;
let node: NodeConnection;
let streams: JetStreamManager;

before(async () => {
  cluster = await startNatsCluster({ apps: ["a"] });
  node = await cluster.connectTo(cluster.members[0] as NatsMember);
  streams = await jetstreamManager(node.client, patience);
  const replicas = { num_replicas: cluster.members.length };
  await streams.streams.add({ name: "LANES", subjects: ["lane.high.>"], ...replicas });
  await streams.streams.add({ name: "KV_apps", subjects: ["$KV.apps.>"], ...replicas });
  node.client.subscribe("shard.>", {
    callback: (_, message) => {
      message.respond("stored");
    },
  });
});

after(async () => {
  await node?.close();
  await cluster?.stop();
});

function connectApp(app: string, { url }: NatsMember): Promise<NatsConnection> {
  return connect({
    servers: url,
    ...cluster.credentials.app(app),
    reconnect: false,
    ignoreClusterUpdates: true,
  });
}

/** Interest, and a stream's leader, reach the other servers a moment later. */
function answered(service: NatsConnection, subject: string): Promise<string> {
  return until(`an answer to ${subject}`, async () => {
    try {
      return (await service.request(subject, "{}", patience)).string();
    } catch {
      return undefined;
    }
  });
}

describe("an app's account in a cluster", () => {
  test("pushes, fills lanes, hears events and answers uplinks by any server", async () => {
    await cluster.addApps(["b"]);
    for (const app of ["a", "b"]) {
      for (const member of cluster.members) {
        const service = await connectApp(app, member);
        equal(await answered(service, `push.${app}.user.alice`), "stored");
        match(await answered(service, `lane.high.${app}.user.alice`), /"stream":"LANES"/);
        const told: string[] = [];
        service.subscribe(`event.${app}.>`, {
          callback: (_, { subject }) => void told.push(subject),
        });
        service.subscribe(`uplink.${app}.>`, {
          callback: (_, message) => {
            message.respond(member.name);
          },
        });
        await service.flush();
        equal(await answered(node.client, `uplink.${app}.chat.alice`), member.name);
        // Interest in events may go another route than the uplink's.
        let published = 0;
        await until("an event has come", () => {
          if (told.length === 0) node.client.publish(`event.${app}.receipt.${published++}`);
          return told.length > 0;
        });
        await service.flush();
        equal(new Set(told).size, told.length);
        await service.close();
      }
    }
  });

  test("is no way to what is another's, whichever server leads the streams", async () => {
    await node.client.request("$KV.apps.a", "kept", patience);
    for (const member of cluster.members) {
      const attacker = await connectApp("a", member);
      for (const reply of ["$JS.API.STREAM.PURGE.KV_apps", "$KV.apps.a"]) {
        attacker.publish("lane.high.a.user.alice", "{}", { reply });
        attacker.publish("push.a.user.alice", "{}", { reply });
      }
      await answered(attacker, "lane.high.a.user.alice");
      await attacker.close();
    }
    const { first_seq, last_seq } = (await streams.streams.info("KV_apps")).state;
    deepEqual([first_seq, last_seq], [1, 1]);
  });
});
