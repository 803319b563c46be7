// One user's device in Node, in a folder where `npm install belfry ws` was run.
//   BELFRY_URL=ws://127.0.0.1:8080/connect BELFRY_TOKEN=… node package-client.mjs
import { createDevice } from "belfry/client";
import { wsSocket } from "belfry/client/ws";
import { WebSocket } from "ws";

const device = createDevice({
  url: process.env.BELFRY_URL,
  socket: wsSocket(WebSocket),
  getToken: async () => process.env.BELFRY_TOKEN,
  onMessage: ({ body }) => console.log("received", JSON.stringify(body)),
  onState: ({ name }) => console.log(name),
});
device.connect();
process.once("SIGINT", () => device.close());
