import { MemoryInbox } from "../../src/drivers/memory-inbox.js";
import { inboxStoreContract } from "./inbox-store.js";

inboxStoreContract("memory", async () => ({ store: new MemoryInbox(), dispose: async () => {} }));
