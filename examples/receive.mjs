// Receives one user's pushes in Node and prints them until Ctrl-C.
//   BELFRY_TOKEN=$(npx belfry token demo alice) node examples/receive.mjs
import { createDevice } from "belfry/client";
import { wsSocket } from "belfry/client/ws";
import { WebSocket } from "ws";

const { BELFRY_URL = "ws://127.0.0.1:8080/connect", BELFRY_TOKEN } = process.env;
if (!BELFRY_TOKEN) throw new Error("BELFRY_TOKEN is not set");

const device = createDevice({
  url: BELFRY_URL,
  socket: wsSocket(WebSocket),
  // A real app asks its own service for a fresh one here.
  getToken: async () => BELFRY_TOKEN,
  device: "receive-example",
  start: "all",
  onMessage: ({ id, position, head, body }) =>
    console.log(JSON.stringify({ id, seq: position.seq, ...head, body })),
  onState: (state) => console.error(JSON.stringify(state)),
});
device.connect();
process.on("SIGINT", () => device.close());
