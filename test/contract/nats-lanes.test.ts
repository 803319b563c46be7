import { after, before } from "node:test";
import { jetstream } from "@nats-io/jetstream";
import { connectNats } from "../../src/drivers/nats-connection.js";
import { NatsLanes } from "../../src/drivers/nats-lanes.js";
import { deadLetterStream } from "../../src/protocol/lanes.js";
import { appOfKey, uidOfKey } from "../../src/protocol/shards.js";
import { type NatsFixture, startNats } from "../support/nats-server.js";
import { lanesContract } from "./lanes.js";

let nats: NatsFixture;

before(async () => {
  nats = await startNats();
});
after(() => nats.stop());

lanesContract("nats", async () => {
  const { user, pass, inboxPrefix } = nats.credentials.node;
  const connection = await connectNats({
    ...{ url: nats.url, name: "test" },
    ...{ user, password: pass, inboxPrefix },
  });
  const lanes = await NatsLanes.open(connection);
  const js = jetstream(connection.client, { timeout: 10_000 });
  return {
    lanes,
    publish: (lane, key, payload) =>
      js.publish(`lane.${lane}.${appOfKey(key)}.user.${uidOfKey(key)}`, payload),
    dispose: async () => {
      for (const lane of ["high", "vip"]) await lanes.drop(lane);
      const manager = await js.jetstreamManager();
      await manager.streams.purge(deadLetterStream);
      await connection.close();
    },
  };
});
