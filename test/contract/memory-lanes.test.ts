import { MemoryLanes } from "../../src/drivers/memory-lanes.js";
import { systemClock } from "../../src/drivers/system-clock.js";
import { lanesContract } from "./lanes.js";

lanesContract("memory", async () => {
  const lanes = new MemoryLanes(systemClock);
  const publish = lanes.publish.bind(lanes);
  return { lanes, publish, dispose: async () => undefined };
});
