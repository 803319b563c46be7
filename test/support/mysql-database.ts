/** A database of its own on a test's MariaDB, with the store's tables. */
import { MysqlConnection, type MysqlPlace } from "../../src/drivers/mysql-connection.js";
import { migrateMysql } from "../../src/drivers/mysql-schema.js";
import type { Sql } from "../../src/drivers/mysql-text.js";
import { mariadbPassword, mariadbUser } from "./mariadb-server.js";

let made = 0;

/** Where the database `belfry_<n>` is; made empty. */
export async function makeDatabase(port: number): Promise<MysqlPlace> {
  const database = `belfry_${made++}`;
  const place = { host: "127.0.0.1", port, user: mariadbUser, password: mariadbPassword };
  await runSql({ ...place, database: "information_schema" }, `CREATE DATABASE ${database}`);
  return { ...place, database };
}

export async function makeStoreDatabase(port: number): Promise<MysqlPlace> {
  const place = await makeDatabase(port);
  await migrateMysql(place);
  return place;
}

/** As an operator would at the server's prompt. */
export async function runSql(place: MysqlPlace, statement: string) {
  const connection = await MysqlConnection.open(place, 5_000);
  try {
    return await connection.run(statement as Sql, 30_000);
  } finally {
    await connection.end(1_000);
  }
}
