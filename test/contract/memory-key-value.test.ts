import { MemoryKeyValue } from "../../src/drivers/memory-key-value.js";
import { systemClock } from "../../src/drivers/system-clock.js";
import { keyValueContract } from "./key-value.js";

keyValueContract("memory", async () => ({
  make: async () => new MemoryKeyValue(systemClock),
  dispose: async () => {},
}));
