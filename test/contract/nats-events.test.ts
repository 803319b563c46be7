import { connectNats } from "../../src/drivers/nats-connection.js";
import { openEvents } from "../../src/drivers/nats-events.js";
import { startNats } from "../support/nats-server.js";
import { storedEvents } from "../support/stored-events.js";
import { until } from "../support/until.js";
import { eventLogContract } from "./event-log.js";

eventLogContract("NATS", async () => {
  const nats = await startNats();
  const { user, pass: password, inboxPrefix } = nats.credentials.node;
  const options = { url: nats.url, name: "test", user, password, inboxPrefix };
  const connection = await connectNats(options);
  return {
    log: await openEvents(connection),
    stored: () => storedEvents(connection),
    away: async () => {
      nats.kill("SIGKILL");
      await until("the connection is gone", () => !connection.isConnected);
    },
    back: async () => {
      await nats.restart();
      await until("the connection is back", () => connection.isConnected);
    },
    dispose: async () => {
      await connection.close();
      await nats.stop();
    },
  };
});
