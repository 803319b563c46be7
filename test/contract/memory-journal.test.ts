import { MemoryJournal } from "../../src/drivers/memory-journal.js";
import { systemClock } from "../../src/drivers/system-clock.js";
import { journalContract } from "./journal.js";

journalContract("memory", async () => ({
  store: new MemoryJournal(systemClock),
  dispose: async () => {},
}));
