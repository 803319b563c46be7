import { WsEdge } from "../support/ws-edge.js";
import { edgeTransportContract } from "./edge-transport.js";

edgeTransportContract("ws", (options) => new WsEdge(options));
