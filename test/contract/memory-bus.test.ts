import { MemoryBus } from "../../src/drivers/memory-bus.js";
import { systemClock } from "../../src/drivers/system-clock.js";
import { busContract } from "./bus.js";

busContract("memory", async () => {
  const bus = new MemoryBus(systemClock);
  return { near: bus, far: bus, base: "node.test", dispose: async () => {} };
});
