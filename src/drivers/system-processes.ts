/** Processes as the system tells of them (see lmdb-holder.ts for where from). */
import type { Processes, ProcessIdentity } from "../ports/processes.js";
import { startTimeOf } from "./lmdb-holder.js";

export async function systemProcesses(): Promise<Processes> {
  const processStart = (await startTimeOf(process.pid)) ?? "";
  const own = { pid: process.pid, processStart };
  return { own, isGone: (identity) => isGone(own, identity) };
}

/** Of another machine, or of another boot, nothing can be said. */
async function isGone(own: ProcessIdentity, other: ProcessIdentity): Promise<boolean> {
  if (bootOf(own) === "" || bootOf(own) !== bootOf(other)) return false;
  return (await startTimeOf(other.pid)) !== other.processStart;
}

/** `<boot id>:<ticks>` on Linux; elsewhere there is no boot to compare, and so no answer. */
function bootOf({ processStart }: ProcessIdentity): string {
  const colon = processStart.indexOf(":");
  return processStart.slice(0, colon).length === 36 ? processStart.slice(0, colon) : "";
}
