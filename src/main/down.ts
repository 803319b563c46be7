/**
 * `make down`: stops what `make up` started, and nothing else: each process only while its
 * pid is still the process that was noted. Also after `kill -9` of any of them.
 */
import { rmSync } from "node:fs";
import { join } from "node:path";
import { belfryHome } from "./home.js";
import { say } from "./local-system.js";
import { readNotedRun, stopNotedRun } from "./setup/run-ledger.js";

/** Nodes have half a minute to leave in order, the servers after them ten seconds. */
const stopGraceMs = 60_000;

async function main(): Promise<number> {
  const home = belfryHome(process.env);
  const ledgerFile = join(home, "run.json");
  const noted = readNotedRun(ledgerFile);
  if (noted === undefined) {
    say("Nothing is up from this folder.");
    return 0;
  }
  const { isRunning, pid, topology } = noted;
  if (isRunning && topology === undefined) {
    process.stderr.write(`belfry: make run runs as process ${pid}; stop it with Ctrl-C there\n`);
    return 1;
  }
  await stopNotedRun(ledgerFile, stopGraceMs);
  rmSync(join(home, "running.json"), { force: true });
  say(`Stopped${topology === undefined ? "" : ` ${topology}`}; what it stored stays.`);
  return 0;
}

main().then(
  (exitCode) => process.exit(exitCode),
  (error) => {
    process.stderr.write(`belfry: ${error.message}\n`);
    process.exit(1);
  },
);
