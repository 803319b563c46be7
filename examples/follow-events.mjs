// Prints what becomes of an app's messages, and which of its users come and go.
//   NATS_PASSWORD=… node examples/follow-events.mjs demo
import { connect } from "@nats-io/transport-node";
import { createService } from "belfry/service";

const [app = "demo"] = process.argv.slice(2);
const { NATS_URL = "nats://127.0.0.1:4222", NATS_USER = `app-${app}`, NATS_PASSWORD } = process.env;

const connection = await connect({
  servers: NATS_URL,
  user: NATS_USER,
  pass: NATS_PASSWORD,
  inboxPrefix: `_INBOX_${app}`,
});
const service = createService({ connection, app });
service.receipts(({ kind, id, uid, device = "" }) => console.log(kind, id, uid, device));
service.presence(({ kind, uid }) => console.log(uid, "is", kind));
