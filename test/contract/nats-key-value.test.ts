import { connectNats } from "../../src/drivers/nats-connection.js";
import { openKeyValue } from "../../src/drivers/nats-key-value.js";
import { startNats } from "../support/nats-server.js";
import { keyValueContract } from "./key-value.js";

keyValueContract("NATS", async () => {
  const nats = await startNats();
  const { user, pass: password, inboxPrefix } = nats.credentials.node;
  const connection = await connectNats({
    url: nats.url,
    name: "test",
    user,
    password,
    inboxPrefix,
  });
  let buckets = 0;
  return {
    make: () => openKeyValue(connection, `test-${buckets++}`),
    dispose: async () => {
      await connection.close();
      await nats.stop();
    },
  };
});
