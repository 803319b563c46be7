import { connectNats } from "../../src/drivers/nats-connection.js";
import { NatsJournal } from "../../src/drivers/nats-journal.js";
import { startNats } from "../support/nats-server.js";
import { journalContract } from "./journal.js";

journalContract("NATS", async () => {
  const nats = await startNats();
  const { user, pass: password, inboxPrefix } = nats.credentials.node;
  const connection = await connectNats({
    url: nats.url,
    name: "test",
    user,
    password,
    inboxPrefix,
  });
  const options = { bytesMax: 64 * 1024 * 1024, maxAgeMs: 3_600_000 };
  return {
    store: new NatsJournal(connection, options),
    dispose: async () => {
      await connection.close();
      await nats.stop();
    },
  };
});
