import { MemoryEvents } from "../../src/drivers/memory-events.js";
import { systemClock } from "../../src/drivers/system-clock.js";
import { eventLogContract } from "./event-log.js";

eventLogContract("memory", async () => {
  const log = new MemoryEvents(systemClock);
  return {
    log,
    stored: async () => log.stored,
    away: async () => {
      log.isAway = true;
    },
    back: async () => {
      log.isAway = false;
    },
    dispose: async () => {},
  };
});
