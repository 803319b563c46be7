import { NetEdge } from "../../src/drivers/net-edge.js";
import { edgeTransportContract } from "./edge-transport.js";

edgeTransportContract("sockets", true, (options) => new NetEdge(options));
