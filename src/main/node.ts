/**
 * The node daemon: `node dist/src/main/node.js --name=a --nats-url=…`.
 *
 * Says `ready` to its parent by IPC where it has one. SIGTERM and SIGINT stop it in
 * order; it also stops when its parent is gone, so that a killed launcher leaves
 * no node behind.
 */

import { BadSettings, readSettings } from "./settings.js";
import { type RunningNode, startNode } from "./start-node.js";

export interface NodeReady {
  readonly kind: "ready";
  readonly httpUrl: string;
  readonly edgeUrl: string;
}

/** Above what clients are given to leave, and actors to stop. */
const stopGraceMs = 28_000;

async function main(): Promise<void> {
  const settings = readSettings(process.env, process.argv.slice(2));
  let node: RunningNode | undefined;
  let isStopping = false;
  const stop = () => {
    // Nothing is served before the start is done, so there is nothing to stop in order.
    if (node === undefined) process.exit(0);
    if (isStopping) return;
    isStopping = true;
    setTimeout(() => process.exit(1), stopGraceMs).unref();
    node.stop().then(
      () => process.exit(0),
      (error) => fail(error),
    );
  };
  // Before the start: a launcher that is killed meanwhile must leave no node behind.
  for (const signal of ["SIGTERM", "SIGINT", "disconnect"] as const) process.on(signal, stop);
  node = await startNode(settings, {}, (reason) => {
    process.stderr.write(`belfry: ${reason}\n`);
    process.exit(1);
  });
  const { httpUrl, edgeUrl } = node;
  process.send?.({ kind: "ready", httpUrl, edgeUrl } satisfies NodeReady);
}

function fail(error: unknown): never {
  const isExpected = error instanceof BadSettings || (error as Error).name === "Fault";
  const text = isExpected ? (error as Error).message : ((error as Error).stack ?? String(error));
  process.stderr.write(`belfry: ${text}\n`);
  process.exit(error instanceof BadSettings ? 2 : 1);
}

// Nothing a node does may end it by an uncaught error; the actors' own are supervised.
process.on("uncaughtException", (error) => {
  process.stderr.write(`belfry: uncaught ${error.stack ?? error}\n`);
});

main().catch(fail);
