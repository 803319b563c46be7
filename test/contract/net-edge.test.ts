import { NetEdge } from "../../src/drivers/net-edge.js";
import { edgeTransportContract } from "./edge-transport.js";

edgeTransportContract("sockets", (options) => new NetEdge(options));
