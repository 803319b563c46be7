import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { LmdbInbox } from "../../src/drivers/lmdb-inbox.js";
import { systemClock } from "../../src/drivers/system-clock.js";
import { inboxStoreContract } from "./inbox-store.js";

inboxStoreContract("lmdb", async () => {
  const dataFolder = await mkdtemp(join(tmpdir(), "belfry-lmdb-"));
  return {
    store: new LmdbInbox({ dataFolder, nodeId: "test", incarnation: "1", clock: systemClock }),
    dispose: () => rm(dataFolder, { recursive: true, force: true }),
  };
});
