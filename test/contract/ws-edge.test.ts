import { WsEdge } from "../support/ws-edge.js";
import { edgeTransportContract } from "./edge-transport.js";

edgeTransportContract("ws", false, (options) => new WsEdge(options));
