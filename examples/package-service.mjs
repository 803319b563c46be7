// A push, in a folder where `npm install belfry @nats-io/transport-node` was run.
//   NATS_URL=nats://127.0.0.1:4222 NATS_PASSWORD=… node package-service.mjs alice
import { connect } from "@nats-io/transport-node";
import { createService } from "belfry/service";

const { NATS_URL: servers, NATS_PASSWORD: pass } = process.env;
const connection = await connect({ servers, user: "app-demo", pass, inboxPrefix: "_INBOX_demo" });
const service = createService({ connection, app: "demo" });
console.log(await service.pushReliably(process.argv[2], { body: { text: "hello" } }));
await connection.close();
