/**
 * A MariaDB of Belfry's own with the durability of a real one (each commit is flushed
 * before it is answered, torn pages are caught) and small buffers.
 */
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir, readFile, rename, rm } from "node:fs/promises";
import { createConnection } from "node:net";
import { userInfo } from "node:os";
import { dirname, join } from "node:path";
import type { ServerPlan } from "./private-server.js";

/** `firstStatements` make its users, when its first tables are made. */
export function planMariadb(
  program: string,
  firstStatements: readonly string[],
  more: readonly string[] = [],
): ServerPlan {
  return {
    name: "mariadb",
    program,
    prepare: (folder) => ensureTables(program, folder, firstStatements),
    isReady: greets,
    arguments: (folder, port) => [
      ...common(join(folder, "data")),
      "--bind-address=127.0.0.1",
      `--port=${port}`,
      `--socket=${join(folder, "socket")}`,
      `--pid-file=${join(folder, "pid")}`,
      "--skip-name-resolve",
      "--performance-schema=off",
      "--innodb-flush-log-at-trx-commit=1",
      "--innodb-doublewrite=1",
      "--innodb-buffer-pool-size=128M",
      ...more,
    ],
  };
}

function common(dataFolder: string): string[] {
  return [
    "--no-defaults",
    `--datadir=${dataFolder}`,
    // Its own: a server that starts removes what others have under way in one that is shared.
    `--tmpdir=${dirname(dataFolder)}`,
    `--user=${userInfo().username}`,
    "--innodb-log-file-size=48M",
    "--skip-log-bin",
  ];
}

/** Whole or not at all: what was interrupted is begun anew. */
async function ensureTables(
  program: string,
  folder: string,
  firstStatements: readonly string[],
): Promise<void> {
  const data = join(folder, "data");
  if (existsSync(data)) return;
  const beside = `${data}.new`;
  await rm(beside, { recursive: true, force: true });
  await mkdir(beside, { recursive: true });
  await bootstrap(program, beside, firstStatements);
  await rename(beside, data);
}

/** What mariadb-install-db does, without the Perl and the help texts. */
async function bootstrap(
  program: string,
  dataFolder: string,
  firstStatements: readonly string[],
): Promise<void> {
  const share = shareOf(program);
  const read = (name: string) => readFile(join(share, name), "utf8");
  const statements = [
    "create database mysql;\nuse mysql;\nset @auth_root_socket=null;\n",
    await read("mysql_system_tables.sql"),
    await read("mysql_system_tables_data.sql"),
    "flush privileges;\n",
    ...firstStatements.map((statement) => `${statement};\n`),
  ];
  const child = spawn(program, [...common(dataFolder), "--bootstrap"], {
    stdio: ["pipe", "ignore", "pipe"],
  });
  let said = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    said += text;
  });
  const ended = new Promise<number | null>((resolve, reject) => {
    child.once("error", reject);
    child.once("close", resolve);
  });
  child.stdin.end(statements.join(""));
  if ((await ended) !== 0) throw new Error(`MariaDB's first tables failed: ${said.slice(-2_000)}`);
}

function shareOf(program: string): string {
  const here = dirname(program);
  const folders = ["usr/share/mysql", "../share/mysql", "../share/mariadb", "/usr/share/mysql"];
  const found = folders
    .map((folder) => (folder.startsWith("/") ? folder : join(here, folder)))
    .find((folder) => existsSync(join(folder, "mysql_system_tables.sql")));
  if (found === undefined) throw new Error(`${program} has no mysql_system_tables.sql beside it`);
  return found;
}

/** MariaDB speaks first, with its version. */
function greets(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createConnection({ host: "127.0.0.1", port });
    const end = (answer: boolean) => {
      socket.destroy();
      resolve(answer);
    };
    socket.once("data", (bytes) => end(bytes.includes("MariaDB")));
    socket.once("error", () => end(false));
    socket.setTimeout(1_000, () => end(false));
  });
}
