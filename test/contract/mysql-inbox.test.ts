import { after, before } from "node:test";
import { MysqlInbox } from "../../src/drivers/mysql-inbox.js";
import { startMariadb } from "../support/mariadb-server.js";
import { makeStoreDatabase } from "../support/mysql-database.js";
import type { ServerProcess } from "../support/server-process.js";
import { inboxStoreContract } from "./inbox-store.js";

let mariadb: ServerProcess;
before(async () => {
  mariadb = await startMariadb();
});
after(() => mariadb[Symbol.asyncDispose]());

inboxStoreContract("mysql", async () => {
  const store = new MysqlInbox({ place: await makeStoreDatabase(mariadb.port) });
  return { store, dispose: () => store.close() };
});
