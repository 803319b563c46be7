/**
 * A disposable MariaDB, as durable as a real one; see src/main/setup/private-mariadb.
 *
 *   await using mariadb = await startMariadb();
 */
import { planMariadb } from "../../src/main/setup/private-mariadb.js";
import { findProgram } from "../../src/main/setup/private-server.js";
import { ServerProcess } from "./server-process.js";

export const mariadbUser = "belfry";
export const mariadbAdmin = "admin";
export const mariadbPassword = "belfry-test";

const firstStatements = [
  `create user ${mariadbUser}@'%' identified by '${mariadbPassword}'`,
  // A database for each test that wants one.
  `grant all on \`belfry%\`.* to ${mariadbUser}@'%'`,
  // For what the store's own user may not do: it is only to be subject to it.
  `create user ${mariadbAdmin}@'%' identified by '${mariadbPassword}'`,
  `grant all on *.* to ${mariadbAdmin}@'%'`,
];

export async function startMariadb(more: readonly string[] = []): Promise<ServerProcess> {
  const program = await findProgram("ensure-mariadb.mjs");
  return ServerProcess.start(planMariadb(program, firstStatements, more));
}
