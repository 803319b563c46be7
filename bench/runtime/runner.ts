/** What is timed on both runtimes alike. */
export interface Token {
  hopsLeft: number;
  readonly onEnd: () => void;
}

export interface Runner {
  /** Sends each token round a ring of so many actors until its hops are used up. */
  tellAround(size: number, tokens: readonly Token[]): void;
  /** So many actors, each stopped right after it was made; `onEnd` when all are gone. */
  spawnAndStop(count: number, onEnd: () => void): void;
  close(): Promise<void>;
}

/** Messages a second, the processing of each included. */
export async function timeTells(
  runner: Runner,
  size: number,
  tokenCount: number,
  hops: number,
): Promise<number> {
  const startMs = performance.now();
  await new Promise<void>((resolve) => {
    let left = tokenCount;
    const onEnd = () => {
      if (--left === 0) resolve();
    };
    const hopsLeft = Math.floor(hops / tokenCount);
    runner.tellAround(
      size,
      Array.from({ length: tokenCount }, () => ({ hopsLeft, onEnd })),
    );
  });
  return (hops * 1_000) / (performance.now() - startMs);
}

/** Actors a second, from the first spawn until the last is gone. */
export async function timeSpawns(runner: Runner, count: number): Promise<number> {
  const startMs = performance.now();
  await new Promise<void>((resolve) => runner.spawnAndStop(count, resolve));
  return (count * 1_000) / (performance.now() - startMs);
}
