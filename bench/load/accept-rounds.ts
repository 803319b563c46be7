/**
 * How fast servers take connections, in turns: each round connects so many clients to each
 * of them, all with a token that is checked, and lets them go again. What of a round is the
 * server's own is its processor time; the rest is shared with everybody on this machine.
 */
import { setTimeout as delay } from "node:timers/promises";
import { shown } from "../harness/figures.js";
import { cpuMs } from "../harness/process-usage.js";
import { note } from "../harness/report.js";
import { WorkerProcess } from "../harness/worker-process.js";
import type { ClientsOptions, UserRange } from "./clients.js";
import { app, secret } from "./system-under-load.js";

export interface Accepting {
  readonly name: string;
  readonly speech: ClientsOptions["speech"];
  readonly url: string;
  /** Of the process that takes the connections. */
  readonly pid: number;
  /** Of others that have their part in it. */
  readonly beside: readonly number[];
  readonly uids: readonly string[];
}

export interface AcceptRound {
  readonly perSecond: number;
  /** Of all threads of the process that takes the connections. */
  readonly cpuUs: number;
  /** With those beside it. */
  readonly allCpuUs: number;
}

/** For closed connections to be forgotten. */
const restMs = 2_000;
/** Enough that who waits some milliseconds for an answer keeps nobody waiting. */
const connectingMax = 256;

/** By name, each round; the first one, of cold code, is left out. */
export async function acceptRounds(
  servers: readonly Accepting[],
  rounds: number,
): Promise<Map<string, AcceptRound[]>> {
  const results = new Map<string, AcceptRound[]>();
  for (const server of servers) results.set(server.name, []);
  const workers = await Promise.all(servers.map(startClients));
  try {
    for (let round = 0; round <= rounds; round++) {
      for (const [at, server] of servers.entries()) {
        const result = await acceptRound(server, workers[at] as WorkerProcess);
        if (round > 0) results.get(server.name)?.push(result);
      }
    }
  } finally {
    await Promise.all(workers.map((worker) => worker[Symbol.asyncDispose]()));
  }
  return results;
}

async function startClients({ speech, url, uids }: Accepting): Promise<WorkerProcess> {
  const worker = WorkerProcess.start("load/clients.js");
  const acks = { messagesMax: 32, delayMs: 50 };
  await worker.ask("setUp", { speech, urls: [url], app, secret, acks } satisfies ClientsOptions);
  await worker.ask("signAll", uids);
  return worker;
}

async function acceptRound(
  { name, pid, beside, uids }: Accepting,
  worker: WorkerProcess,
): Promise<AcceptRound> {
  const startMs = performance.now();
  const besideMs = () => beside.reduce((total, each) => total + cpuMs(each), 0);
  const [ownBeforeMs, besideBeforeMs] = [cpuMs(pid), besideMs()];
  await worker.ask("connect", { uids, from: 0, connectingMax } satisfies UserRange);
  const cpuUs = ((cpuMs(pid) - ownBeforeMs) * 1_000) / uids.length;
  const allCpuUs = cpuUs + ((besideMs() - besideBeforeMs) * 1_000) / uids.length;
  const perSecond = (uids.length * 1_000) / (performance.now() - startMs);
  const cost = `${cpuUs.toFixed(0)} µs each of its processor, ${allCpuUs.toFixed(0)} of all`;
  note(`${name}: ${shown(Math.round(perSecond))}/s, ${cost}`);
  await worker.ask("leave");
  await delay(restMs);
  return { perSecond, cpuUs, allCpuUs };
}
