/**
 * Tells whether a process recorded earlier is still that process: the operating
 * system gives a pid again, so the pid alone would one day name a stranger.
 */
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";

export interface ProcessIdentity {
  readonly pid: number;
  /** When it started, in the system's own words; never compared across boots. */
  readonly startedAt: string;
}

/** The identity of a running process; undefined when there is none, or only its zombie. */
export function identify(pid: number): ProcessIdentity | undefined {
  const startedAt = process.platform === "linux" ? linuxStart(pid) : posixStart(pid);
  return startedAt === undefined ? undefined : { pid, startedAt };
}

export function isStillRunning(recorded: ProcessIdentity): boolean {
  return identify(recorded.pid)?.startedAt === recorded.startedAt;
}

/** The pid of the parent, 0 when the process is gone. */
export function parentOf(pid: number): number {
  if (process.platform === "linux") return Number(linuxStat(pid)?.[1] ?? 0);
  return Number(ps(pid, "ppid=") ?? 0);
}

/**
 * Ends a recorded process: SIGTERM, and SIGKILL when it is still there after
 * `graceMs`. Does nothing when the pid has become another process.
 */
export async function stopRecorded(recorded: ProcessIdentity, graceMs: number): Promise<void> {
  if (!isStillRunning(recorded)) return;
  send(recorded.pid, "SIGTERM");
  // A stopped process would take the signal only when it runs again.
  send(recorded.pid, "SIGCONT");
  if (await isGoneWithin(recorded, graceMs)) return;
  send(recorded.pid, "SIGKILL");
  if (await isGoneWithin(recorded, 5000)) return;
  throw new Error(`Process ${recorded.pid} of an earlier run does not end; end it by hand.`);
}

async function isGoneWithin(recorded: ProcessIdentity, graceMs: number): Promise<boolean> {
  const deadlineMs = performance.now() + graceMs;
  while (isStillRunning(recorded)) {
    if (performance.now() > deadlineMs) return false;
    await delay(20);
  }
  return true;
}

function send(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch {
    // It ended by itself in between.
  }
}

/** Boot and ticks since then: exact, and no other process can have both. */
function linuxStart(pid: number): string | undefined {
  const fields = linuxStat(pid);
  if (fields === undefined || fields[0] === "Z") return undefined;
  const boot = readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
  return `${boot}:${fields[19]}`;
}

/** The fields of /proc/<pid>/stat from the state on (proc(5)); the name before may hold spaces. */
function linuxStat(pid: number): string[] | undefined {
  let stat: string;
  try {
    stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  } catch {
    return undefined;
  }
  return stat.slice(stat.lastIndexOf(")") + 2).split(" ");
}

function posixStart(pid: number): string | undefined {
  if (ps(pid, "state=")?.startsWith("Z") === true) return undefined;
  return ps(pid, "lstart=");
}

function ps(pid: number, field: string): string | undefined {
  const done = spawnSync("ps", ["-o", field, "-p", String(pid)], { encoding: "utf8" });
  const said = done.stdout?.trim() ?? "";
  return done.status === 0 && said !== "" ? said : undefined;
}
