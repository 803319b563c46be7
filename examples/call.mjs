// Asks a service once, as a user's device, and prints what it answers.
//   BELFRY_TOKEN=$(npx belfry token demo alice) node examples/call.mjs add '[1, 2, 3]'
import { createDevice } from "belfry/client";
import { wsSocket } from "belfry/client/ws";
import { WebSocket } from "ws";

const [route = "add", body = "[1, 2, 3]"] = process.argv.slice(2);
const { BELFRY_URL = "ws://127.0.0.1:8080/connect", BELFRY_TOKEN } = process.env;
if (!BELFRY_TOKEN) throw new Error("BELFRY_TOKEN is not set");

const device = createDevice({
  url: BELFRY_URL,
  socket: wsSocket(WebSocket),
  getToken: async () => BELFRY_TOKEN,
  device: "call-example",
  onMessage: () => {},
});
device.connect();
try {
  console.log(await device.call(route, JSON.parse(body), { deadlineMs: 5_000 }));
} catch ({ code, outcome, message }) {
  console.error(`${code} (${outcome}): ${message}`);
  process.exitCode = 1;
}
device.close();
