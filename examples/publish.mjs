// Pushes to one user over NATS and prints the answer.
//   NATS_PASSWORD=… node examples/publish.mjs demo alice 'hello'
import { connect } from "@nats-io/transport-node";
import { createService } from "belfry/service";

const [app = "demo", uid = "alice", text = "hello"] = process.argv.slice(2);
const { NATS_URL = "nats://127.0.0.1:4222", NATS_USER = `app-${app}`, NATS_PASSWORD } = process.env;

const connection = await connect({
  servers: NATS_URL,
  user: NATS_USER,
  pass: NATS_PASSWORD,
  inboxPrefix: `_INBOX_${app}`,
});
const service = createService({ connection, app });
const answer = await service.pushReliably(uid, { body: { text }, type: "example" });
console.log(JSON.stringify(answer));
await connection.close();
process.exitCode = answer.ok ? 0 : 1;
