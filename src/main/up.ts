/**
 * `make up TOPOLOGY=topology/redis-mysql.yaml`: a topology in the background. Returns when
 * it serves; a second call of the same says that it runs.
 *
 * Exit codes: 0 it runs, 1 it does not, 2 the file is wrong.
 */
import { fork } from "node:child_process";
import { mkdir, open, readFile, rename } from "node:fs/promises";
import { hostname } from "node:os";
import { join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { belfryHome } from "./home.js";
import type { KeeperMessage } from "./keeper.js";
import { say } from "./local-system.js";
import { readNotedRun } from "./setup/run-ledger.js";
import { BadTopology, readTopologyFile, type Topology } from "./topology-file.js";

const keeperProgram = fileURLToPath(new URL("./keeper.js", import.meta.url));

async function main(named: string | undefined): Promise<number> {
  if (named === undefined || named === "") {
    throw new BadTopology("which one? make up TOPOLOGY=topology/lmdb.yaml");
  }
  const file = resolve(named);
  const topology = readTopologyFile(file);
  if (!topology.nodes.some(isHere)) {
    throw new BadTopology(`${named}: none of its nodes is of this machine, ${hostname()}`);
  }
  const home = belfryHome(process.env);
  await mkdir(home, { recursive: true });
  const noted = readNotedRun(join(home, "run.json"));
  if (noted?.isRunning) return tellRunning(noted, file);
  return start(home, file, topology);
}

function isHere({ machine }: Topology["nodes"][number]): boolean {
  return machine === undefined || machine === hostname();
}

function tellRunning({ pid, topology }: { pid: number; topology?: string }, file: string): number {
  if (topology === file) {
    say(`Belfry runs already with this topology (process ${pid}); make down stops it.`);
    return 0;
  }
  const what = topology === undefined ? "make run" : `make up TOPOLOGY=${topology}`;
  const how = topology === undefined ? "stop it with Ctrl-C there" : "make down stops it";
  return fail(`${what} runs from this folder already (process ${pid}); ${how}`, 1);
}

async function start(home: string, file: string, topology: Topology): Promise<number> {
  const logFile = join(home, "up.log");
  // One start, one log, and the one before it: together they stay small.
  await rename(logFile, `${logFile}.before`).catch(() => undefined);
  const log = await open(logFile, "w");
  const keeper = fork(keeperProgram, [file], {
    execArgv: ["--enable-source-maps"],
    stdio: ["ignore", log.fd, log.fd, "ipc"],
    // Ctrl-C at this terminal is not for what runs in the background.
    detached: true,
  });
  await log.close();
  // Until it serves, it is this call that starts it, and that can be called off.
  const callOff = () => void keeper.kill("SIGTERM");
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, callOff);
  const message = await new Promise<KeeperMessage | undefined>((done) => {
    keeper.once("message", (told) => done(told as KeeperMessage));
    keeper.once("error", () => done(undefined));
    keeper.once("exit", () => done(undefined));
  });
  if (message?.kind !== "ready") {
    const said = (await readFile(logFile, "utf8")).slice(-2_000).trimEnd();
    return fail(`it did not start: ${message?.message ?? said} (${logFile})`, 1);
  }
  keeper.unref();
  const { natsUrl, nodes, noteFile } = message;
  const edges = nodes.map((node) => node.edgeUrl).join(" and ");
  say(`Belfry runs in the background: NATS on ${natsUrl}, nodes on ${edges}.\n`);
  if (topology.demo) {
    say(`  Open the page, enter the name alice:   ${nodes[0]?.httpUrl}/demo/`);
    say(`  Push to her:                           npx belfry push demo alice '{"text":"hello"}'`);
  } else {
    say("  Register an app:                       npx belfry app create shop");
  }
  say("  Look at the nodes:                     npx belfry status");
  say(`\nWhat runs where: ${relative(process.cwd(), noteFile)}. What it says: ${logFile}.`);
  say("make down stops it; what it stored stays.");
  return 0;
}

function fail(message: string, exitCode: number): number {
  process.stderr.write(`belfry: ${message}\n`);
  return exitCode;
}

main(process.argv[2]).then(
  (exitCode) => process.exit(exitCode),
  (error) => {
    if (error instanceof BadTopology) process.exit(fail(error.message, 2));
    process.exit(fail(typeof error.code === "string" ? error.message : error.stack, 1));
  },
);
