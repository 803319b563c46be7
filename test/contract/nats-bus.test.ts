import { NatsBus } from "../../src/drivers/nats-bus.js";
import { connectNats } from "../../src/drivers/nats-connection.js";
import { startNats } from "../support/nats-server.js";
import { busContract } from "./bus.js";

busContract("NATS", async () => {
  const nats = await startNats();
  const { user, pass: password, inboxPrefix } = nats.credentials.node;
  const access = { url: nats.url, name: "test", user, password, inboxPrefix };
  const [near, far] = await Promise.all([connectNats(access), connectNats(access)]);
  return {
    near: new NatsBus(near),
    far: new NatsBus(far),
    base: "node.test",
    dispose: async () => {
      await Promise.all([near.close(), far.close()]);
      await nats.stop();
    },
  };
});
