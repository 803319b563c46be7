/**
 * Who has a volume open: `holder.json` in its folder, written before the environment
 * is opened and removed after it is closed. A holder that still lives when another
 * process is told to take the volume is silent to the placement, so it is killed:
 * two openers of one environment hang on each other when one is paused. It has a moment
 * to leave by itself first: who was only cut off is closing its volumes, and keeps its
 * sockets.
 *
 * A pid alone would one day name a stranger; with its start time it is one process, and
 * with the time of its record one holding: it may leave and be given the volume again.
 *
 * Invariant: a holding is replaced only by a taker that saw it end. Who slept meanwhile
 * finds another record, and fails: whoever is in it was given the volume later.
 */
import { execFile } from "node:child_process";
import { linkSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { promisify } from "node:util";
import { Fault } from "../base/result.js";

export interface Holder {
  readonly pid: number;
  readonly startTime: string;
  readonly nodeId: string;
  readonly incarnation: string;
  readonly atMs: number;
}

/** From a lost lease to closed volumes takes a live node less, by far. */
const leaveWaitDefaultMs = 1_000;
const killWaitMs = 5_000;
const probeMs = 10;

/**
 * Kills the process that holds the folder, if it lives, and records `holder` in its
 * place. Returns whether it killed one.
 * Throws Fault("STORE_UNAVAILABLE", "not-done") when the holder cannot be ended, or
 * another process took the folder meanwhile.
 */
export async function takeFolder(
  folder: string,
  holder: Holder,
  leaveWaitMs = leaveWaitDefaultMs,
): Promise<boolean> {
  const previous = await readHolder(folder);
  const isStaying =
    previous !== undefined &&
    !isSameProcess(previous, holder) &&
    !(await leaves(previous, folder, leaveWaitMs));
  if (isStaying) await kill(previous, folder);
  replaceRecord(folder, previous, holder);
  return isStaying;
}

/**
 * Records `holder` where no process that lives has the folder; else throws
 * Fault("STORE_UNAVAILABLE", "not-done") and ends nobody.
 */
export async function takeFreeFolder(folder: string, holder: Holder): Promise<void> {
  const previous = await readHolder(folder);
  if (previous !== undefined && (await isRunning(previous))) {
    throw cannotTake(previous, folder, "runs; stop it first");
  }
  replaceRecord(folder, previous, holder);
}

/** Removes the record if it is still this holder's. */
export async function leaveFolder(folder: string, holder: Holder): Promise<void> {
  const recorded = await readHolder(folder);
  if (recorded === undefined || !isSameHolding(recorded, holder)) return;
  await rm(holderPath(folder), { force: true });
}

/** Undefined when there is none, or a torn one: it is written before anything is opened. */
export async function readHolder(folder: string): Promise<Holder | undefined> {
  return parseHolder(await readFile(holderPath(folder), "utf8").catch(noneIfMissing));
}

/**
 * The record is created, never overwritten: of two takers that saw the same holder end
 * one wins. All in one go, so that little can happen between the last look and the link;
 * what moved aside is put back when it was a later holder's after all.
 */
function replaceRecord(folder: string, previous: Holder | undefined, holder: Holder): void {
  const path = holderPath(folder);
  const own = `${path}.${holder.pid}`;
  const aside = `${own}.previous`;
  const isLater = (found: Holder | undefined): boolean =>
    found !== undefined &&
    !isSameProcess(found, holder) &&
    (previous === undefined || !isSameHolding(found, previous));
  writeFileSync(own, `${JSON.stringify(holder)}\n`);
  try {
    let isTaken = isLater(readRecord(path));
    if (!isTaken && done(() => renameSync(path, aside), "ENOENT")) {
      isTaken = isLater(readRecord(aside));
      if (isTaken) done(() => linkSync(aside, path), "EEXIST");
    }
    if (isTaken || !done(() => linkSync(own, path), "EEXIST")) {
      throw takenBy(readRecord(path), folder);
    }
  } finally {
    rmSync(own, { force: true });
    rmSync(aside, { force: true });
  }
}

function readRecord(path: string): Holder | undefined {
  let text: string | undefined;
  done(() => {
    text = readFileSync(path, "utf8");
  }, "ENOENT");
  return parseHolder(text);
}

/** False when it failed with `code`, which is expected. */
function done(step: () => void, code: string): boolean {
  try {
    step();
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === code) return false;
    throw error;
  }
}

function noneIfMissing(error: NodeJS.ErrnoException): undefined {
  if (error.code !== "ENOENT") throw error;
}

function parseHolder(text: string | undefined): Holder | undefined {
  if (text === undefined) return undefined;
  try {
    const holder = JSON.parse(text) as Holder;
    return Number.isInteger(holder.pid) && holder.pid > 1 ? holder : undefined;
  } catch {
    return undefined;
  }
}

/** Undefined when there is no such process, or only its zombie. */
export async function startTimeOf(pid: number): Promise<string | undefined> {
  return process.platform === "linux" ? linuxStartTime(pid) : posixStartTime(pid);
}

function holderPath(folder: string): string {
  return join(folder, "holder.json");
}

function isSameProcess(one: Holder, other: Holder): boolean {
  return one.pid === other.pid && one.startTime === other.startTime;
}

function isSameHolding(one: Holder, other: Holder): boolean {
  const isSameTime = one.atMs === other.atMs && one.incarnation === other.incarnation;
  return isSameTime && isSameProcess(one, other);
}

async function isRunning(holder: Holder): Promise<boolean> {
  return (await startTimeOf(holder.pid)) === holder.startTime;
}

/** Whether it is gone, or has given the folder back, within the time it has for that. */
async function leaves(holder: Holder, folder: string, leaveWaitMs: number): Promise<boolean> {
  const deadlineMs = performance.now() + leaveWaitMs;
  while (await isRunning(holder)) {
    const present = await readHolder(folder);
    if (present === undefined || !isSameHolding(present, holder)) return true;
    if (performance.now() > deadlineMs) return false;
    await delay(probeMs);
  }
  return true;
}

async function kill(holder: Holder, folder: string): Promise<void> {
  try {
    process.kill(holder.pid, "SIGKILL");
  } catch (cause) {
    // ESRCH: it ended by itself in between.
    if ((cause as NodeJS.ErrnoException).code !== "ESRCH") {
      throw cannotTake(holder, folder, "cannot be killed", cause);
    }
  }
  const deadlineMs = performance.now() + killWaitMs;
  while (await isRunning(holder)) {
    if (performance.now() > deadlineMs) {
      throw cannotTake(holder, folder, `was killed and is not gone after ${killWaitMs / 1000} s`);
    }
    await delay(probeMs);
  }
}

function cannotTake(holder: Holder, folder: string, why: string, cause?: unknown): Fault {
  const { pid, nodeId } = holder;
  const message = `${folder} is held by process ${pid} (node ${nodeId}), which ${why}`;
  return new Fault("STORE_UNAVAILABLE", "not-done", message, { cause });
}

function takenBy(taker: Holder | undefined, folder: string): Fault {
  const who = taker ? `process ${taker.pid} (node ${taker.nodeId})` : "another process";
  const message = `${folder} was taken by ${who} while this process waited for it`;
  return new Fault("STORE_UNAVAILABLE", "not-done", message);
}

/** The boot and the ticks since it: field 22 of /proc/<pid>/stat (proc(5)). */
async function linuxStartTime(pid: number): Promise<string | undefined> {
  let stat: string;
  try {
    stat = await readFile(`/proc/${pid}/stat`, "utf8");
  } catch {
    return undefined;
  }
  // The process's name, in parentheses, may hold spaces; the state is the third field.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  if (fields[0] === "Z" || fields[0] === "X") return undefined;
  const boot = await readFile("/proc/sys/kernel/random/boot_id", "utf8");
  return `${boot.trim()}:${fields[19]}`;
}

async function posixStartTime(pid: number): Promise<string | undefined> {
  try {
    const { stdout } = await promisify(execFile)("ps", ["-o", "state=,lstart=", "-p", `${pid}`]);
    const [state = "Z", ...start] = stdout.trim().split(/\s+/);
    return state.startsWith("Z") ? undefined : start.join(" ");
  } catch {
    return undefined;
  }
}
