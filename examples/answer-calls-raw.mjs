// The same as answer-calls.mjs without Belfry's SDK: any NATS client can do it.
//   NATS_PASSWORD=… node examples/answer-calls-raw.mjs demo
import { connect } from "@nats-io/transport-node";
import { pack, unpack } from "msgpackr";

const [app = "demo"] = process.argv.slice(2);
const { NATS_URL = "nats://127.0.0.1:4222", NATS_USER = `app-${app}`, NATS_PASSWORD } = process.env;

const connection = await connect({ servers: NATS_URL, user: NATS_USER, pass: NATS_PASSWORD });
connection.subscribe(`uplink.${app}.add.*`, {
  // Each call goes to one of those with the same name.
  queue: "adders",
  callback: (error, message) => {
    if (error) throw error;
    // One map, as its client speaks: JSON begins with a brace, msgpack does not.
    const isJson = message.data[0] === 0x7b;
    const { body } = isJson ? message.json() : unpack(message.data);
    const answer = Array.isArray(body)
      ? { ok: true, value: body.reduce((sum, number) => sum + number, 0) }
      : { ok: false, code: "NO_LIST", message: "a list of numbers can be added" };
    message.respond(isJson ? JSON.stringify(answer) : pack(answer));
  },
});
await connection.flush();
console.log("answering");
process.once("SIGINT", () => connection.drain());
