/**
 * Which processes a run of this checkout has started, on disk, so that the next
 * run can stop what a killed one left behind, and nothing else.
 *
 * A ledger belongs to one run: the process that claimed it. The claim of a run
 * that is gone is taken over and its processes are stopped, each only while its
 * pid is still the process that was recorded. A run that lives is left alone and
 * the claim is refused.
 */
import { readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { dirname } from "node:path";
import { z } from "zod";
import { assert } from "../../base/assert.js";
import {
  identify,
  isStillRunning,
  type ProcessIdentity,
  parentOf,
  stopRecorded,
} from "./process-identity.js";

const identityShape = z.object({ pid: z.number().int().positive(), startedAt: z.string() });
const ledgerShape = z.object({
  version: z.literal(1),
  owner: identityShape,
  /** The topology that `make up` started; absent in a run in the foreground. */
  topology: z.string().optional(),
  /** `make` above the owner; when it was killed, the owner is a leftover as well. */
  launcher: identityShape.optional(),
  processes: z.array(identityShape.extend({ what: z.string() })),
});

type LedgerContent = z.infer<typeof ledgerShape>;

const stopGraceMs = 8000;

/** Another run of this checkout lives; the message tells which and what to do. */
export class RunInProgress extends Error {
  override readonly name = "RunInProgress";
}

export class RunLedger {
  private readonly processes = new Map<number, ProcessIdentity & { what: string }>();

  private constructor(
    private readonly file: string,
    private readonly owner: ProcessIdentity,
    private readonly launcher: ProcessIdentity | undefined,
    private readonly topology: string | undefined,
  ) {}

  /** Stops what a dead run left, then claims the ledger; throws RunInProgress. */
  static async claim(file: string, topology?: string): Promise<RunLedger> {
    await mkdir(dirname(file), { recursive: true });
    await stopLeftovers(file);
    const owner = identify(process.pid);
    assert(owner !== undefined, "this process runs");
    // MAKELEVEL: make started this. Otherwise a shell did, which may well leave first.
    // What runs in the background outlives whoever started it, by its nature.
    const isBound = topology === undefined && process.env["MAKELEVEL"] !== undefined;
    const launcher = isBound ? identify(process.ppid) : undefined;
    const ledger = new RunLedger(file, owner, launcher, topology);
    ledger.write();
    return ledger;
  }

  /** Notes a child at once after its start, before anything can go wrong. */
  record(what: string, pid: number): void {
    const identity = identify(pid);
    if (identity === undefined) return;
    this.processes.set(pid, { ...identity, what });
    this.write();
  }

  forget(pid: number): void {
    if (this.processes.delete(pid)) this.write();
  }

  /** The end of an orderly run. */
  release(): void {
    rmSync(this.file, { force: true });
  }

  /** Synchronous, so that no await lies between a start and its record. */
  private write(): void {
    const content: LedgerContent = {
      version: 1,
      owner: this.owner,
      ...(this.launcher === undefined ? {} : { launcher: this.launcher }),
      ...(this.topology === undefined ? {} : { topology: this.topology }),
      processes: [...this.processes.values()],
    };
    writeFileSync(`${this.file}.new`, `${JSON.stringify(content, null, 2)}\n`);
    renameSync(`${this.file}.new`, this.file);
  }
}

export interface NotedRun {
  readonly pid: number;
  /** Whether the process that claimed the ledger is still there. */
  readonly isRunning: boolean;
  /** Absent in a run in the foreground. */
  readonly topology?: string;
}

/** Undefined where no run is noted. */
export function readNotedRun(file: string): NotedRun | undefined {
  const content = readLedger(file);
  if (content === undefined) return undefined;
  const { owner, topology } = content;
  const isRunning = isStillRunning(owner);
  return { pid: owner.pid, isRunning, ...(topology === undefined ? {} : { topology }) };
}

/**
 * Stops the noted run: its owner, which stops what it started, and then what is left of
 * that, each only while its pid is still the process that was noted.
 */
export async function stopNotedRun(file: string, graceMs: number): Promise<void> {
  const content = readLedger(file);
  if (content === undefined) return;
  await stopRecorded(content.owner, graceMs);
  const left = readLedger(file)?.processes ?? content.processes;
  await Promise.all(left.map((recorded) => stopRecorded(recorded, stopGraceMs)));
  rmSync(file, { force: true });
}

async function stopLeftovers(file: string): Promise<void> {
  const content = readLedger(file);
  if (content === undefined) return;
  if (isStillRunning(content.owner)) {
    if (!isOrphan(content)) {
      throw new RunInProgress(
        `Belfry already runs from this folder as process ${content.owner.pid}; stop it first.`,
      );
    }
    await stopRecorded(content.owner, stopGraceMs);
  }
  await Promise.all(content.processes.map((recorded) => stopRecorded(recorded, stopGraceMs)));
}

function isOrphan({ owner, launcher }: LedgerContent): boolean {
  return launcher !== undefined && parentOf(owner.pid) !== launcher.pid;
}

/** An unreadable ledger names no process, so nothing is stopped by it. */
function readLedger(file: string): LedgerContent | undefined {
  try {
    return ledgerShape.parse(JSON.parse(readFileSync(file, "utf8")));
  } catch {
    return undefined;
  }
}
