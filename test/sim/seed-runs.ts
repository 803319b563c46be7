/** Runs of one seed as a command or a test asks for them. */
import type { Breakage } from "./breakage.js";
import { breakages } from "./breakages.js";
import type { FaultName } from "./fault-names.js";
import type { RunOptions, RunResult } from "./run-result.js";
import { runSeed } from "./run-seed.js";

/** What all seeds of a command have in common; can be sent to a worker. */
export interface SeedSettings {
  readonly without: readonly FaultName[];
  readonly breakage: string | undefined;
}

/** A run's result without its trace. */
export interface SeedOutcome extends Omit<RunResult, "failure" | "tail"> {
  readonly failure: string | undefined;
}

export function breakageNamed(name: string): Breakage | undefined {
  return breakages.find((breakage) => breakage.name === name);
}

export function optionsOf(settings: SeedSettings, seed: number): RunOptions {
  const { without } = settings;
  const breakage = settings.breakage === undefined ? undefined : breakageNamed(settings.breakage);
  const options = { seed, without: new Set(without) };
  return breakage === undefined ? options : { ...options, breakage };
}

/** Twice, and both must have done the same. */
export async function runTwice(settings: SeedSettings, seed: number): Promise<SeedOutcome> {
  const options = optionsOf(settings, seed);
  const { tail: _, failure, ...once } = await runSeed(options);
  const again = await runSeed(options);
  const isSame = once.hash === again.hash;
  const differs = isSame ? undefined : new Error(`two runs differ: ${once.hash}, ${again.hash}`);
  return { ...once, failure: (failure ?? differs)?.message };
}
