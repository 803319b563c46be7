// Answers what an app's clients ask by the route `add`, until Ctrl-C. Start it twice: they share.
//   NATS_PASSWORD=… node examples/answer-calls.mjs demo
import { connect } from "@nats-io/transport-node";
import { CallRefused, createService } from "belfry/service";

const [app = "demo"] = process.argv.slice(2);
const { NATS_URL = "nats://127.0.0.1:4222", NATS_USER = `app-${app}`, NATS_PASSWORD } = process.env;

const connection = await connect({
  servers: NATS_URL,
  user: NATS_USER,
  pass: NATS_PASSWORD,
  inboxPrefix: `_INBOX_${app}`,
});
const service = createService({ connection, app });
const add = ({ body }) => {
  if (!Array.isArray(body)) throw new CallRefused("NO_LIST", "a list of numbers can be added");
  return body.reduce((sum, number) => sum + number, 0);
};
const handling = service.handle("add", add, { concurrency: 16, onError: console.error });
await connection.flush();
console.log("answering");
process.once("SIGINT", async () => {
  await handling.close();
  await connection.close();
});
