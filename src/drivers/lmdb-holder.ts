/**
 * Who has a volume open: `holder.json` in its folder, written before the environment
 * is opened and removed after it is closed. A holder that still lives when another
 * process is told to take the volume is silent to the placement, so it is killed:
 * two openers of one environment hang on each other when one is paused. It has a moment
 * to leave by itself first: who was only cut off is closing its volumes, and keeps its
 * sockets.
 *
 * A pid alone would one day name a stranger; with its start time it is one process.
 */
import { execFile } from "node:child_process";
import { readFile, rename, rm, writeFile } from "node:fs/promises";
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
const leaveWaitMs = 1_000;
const killWaitMs = 5_000;
const probeMs = 10;

/**
 * Kills the process that holds the folder, if it lives, and records `holder` in its
 * place. Returns whether it killed one.
 * Throws Fault("STORE_UNAVAILABLE", "not-done") when the holder cannot be ended.
 */
export async function takeFolder(folder: string, holder: Holder): Promise<boolean> {
  const previous = await readHolder(folder);
  const isStaying =
    previous !== undefined && !isSameProcess(previous, holder) && !(await leaves(previous, folder));
  if (isStaying) await kill(previous, folder);
  const temporary = `${holderPath(folder)}.${holder.pid}`;
  await writeFile(temporary, `${JSON.stringify(holder)}\n`);
  await rename(temporary, holderPath(folder));
  return isStaying;
}

/** Removes the record if it is still this holder's. */
export async function leaveFolder(folder: string, holder: Holder): Promise<void> {
  const recorded = await readHolder(folder);
  if (recorded === undefined || !isSameProcess(recorded, holder)) return;
  await rm(holderPath(folder), { force: true });
}

/** Undefined when there is none, or a torn one: it is written before anything is opened. */
export async function readHolder(folder: string): Promise<Holder | undefined> {
  let text: string;
  try {
    text = await readFile(holderPath(folder), "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
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

async function isRunning(holder: Holder): Promise<boolean> {
  return (await startTimeOf(holder.pid)) === holder.startTime;
}

/** Whether it is gone, or has given the folder back, within the time it has for that. */
async function leaves(holder: Holder, folder: string): Promise<boolean> {
  const deadlineMs = performance.now() + leaveWaitMs;
  while (await isRunning(holder)) {
    const present = await readHolder(folder);
    if (present === undefined || !isSameProcess(present, holder)) return true;
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
