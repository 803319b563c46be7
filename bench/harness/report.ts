/**
 * What a bench ends in: a table for people and `bench/results/<name>.json` for
 * comparisons over time. Also how a bench runs: notes go out as they come, and a
 * bench that fails or outlasts its bound writes no figures.
 */
import { execFileSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { cpus, release, totalmem, type } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type Figure, tableOf } from "./figures.js";

/** This file runs as dist/bench/harness/report.js. */
const root = fileURLToPath(new URL("../../../", import.meta.url));

export type Figures = Record<string, Figure>;

export function note(line: string): void {
  process.stdout.write(`${line}\n`);
}

/** Runs `measure` and reports what it returns; ends the process with 1 when it throws. */
export async function bench(
  name: string,
  boundMs: number,
  measure: () => Promise<Figures>,
): Promise<void> {
  // An exit removes the folders, and children end when their parent is gone.
  for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => process.exit(1));
  const startedMs = performance.now();
  const overdue = setTimeout(() => {
    process.stderr.write(`${name}: not done after its bound of ${boundMs / 1_000} s\n`);
    process.exit(1);
  }, boundMs);
  try {
    const figures = await measure();
    writeResults(name, figures);
    const tookS = Math.round((performance.now() - startedMs) / 1_000);
    note(`\n${tableOf(figures)}\n\nbench/results/${name}.json, measured in ${tookS} s`);
  } catch (error) {
    process.stderr.write(`${name}: ${(error as Error).stack ?? error}\n`);
    process.exitCode = 1;
  } finally {
    clearTimeout(overdue);
  }
}

function writeResults(name: string, figures: Figures): void {
  const folder = join(root, "bench", "results");
  mkdirSync(folder, { recursive: true });
  const at = new Date().toISOString();
  const results = { name, commit: commitOf(root), machine: machine(), at, figures };
  writeFileSync(join(folder, `${name}.json`), `${JSON.stringify(results, null, 2)}\n`);
}

function machine() {
  const processors = cpus();
  return {
    cores: processors.length,
    cpu: processors[0]?.model ?? "unknown",
    memory: totalmem(),
    node: process.version,
    os: `${type()} ${release()}`,
  };
}

/** With `-dirty` when the checkout differs from it; "none" outside version control. */
function commitOf(folder: string): string {
  try {
    const run = (...args: string[]) =>
      execFileSync("git", args, {
        cwd: folder,
        encoding: "utf8",
        stdio: ["ignore", "pipe", "ignore"],
      });
    const commit = run("rev-parse", "HEAD").trim();
    return run("status", "--porcelain").trim() === "" ? commit : `${commit}-dirty`;
  } catch {
    return "none";
  }
}
