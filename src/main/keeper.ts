/**
 * The process behind `make up`: starts a topology's servers and nodes, starts again what
 * ends, and stops them at SIGTERM, which is what `make down` sends. When it is killed
 * itself, its children end by their own pipes to it, and `make down` clears the rest.
 *
 * Started by up.ts with an IPC channel, for its one message; what it says later goes to
 * the log. Nothing here ends because that channel, or a terminal, has gone.
 */
import { join } from "node:path";
import { belfryHome } from "./home.js";
import { LocalSystem } from "./local-system.js";
import { findProgram } from "./setup/private-server.js";
import { RunLedger } from "./setup/run-ledger.js";
import { readTopologyFile, topologyName } from "./topology-file.js";

export type KeeperMessage =
  | {
      readonly kind: "ready";
      readonly natsUrl: string;
      readonly nodes: readonly { readonly httpUrl: string; readonly edgeUrl: string }[];
      readonly noteFile: string;
    }
  | { readonly kind: "failed"; readonly message: string };

async function main(topologyFile: string): Promise<void> {
  const home = belfryHome(process.env);
  const topology = readTopologyFile(topologyFile);
  const ledger = await RunLedger.claim(join(home, "run.json"), topologyFile);
  const folder = join(home, "up", topologyName(topologyFile));
  const system = new LocalSystem({ home, folder, topology, topologyFile }, ledger);
  const stop = (code: number) => {
    system.stop().then(
      () => process.exit(code),
      (error) => {
        process.stderr.write(`belfry: ${error.stack ?? error}\n`);
        process.exit(1);
      },
    );
  };
  process.on("SIGTERM", () => stop(0));
  process.on("SIGINT", () => stop(0));
  process.on("SIGHUP", () => undefined);
  try {
    // A system of the foreground finds it prepared; here the topology says whether it is wanted.
    if (topology.nats === "private" && !process.env["NATS_URL"]) {
      await findProgram("ensure-nats.mjs", true);
    }
    const running = await system.start();
    if (running !== undefined) tell({ kind: "ready", ...running });
  } catch (error) {
    if (system.isStopping) return;
    tell({ kind: "failed", message: (error as Error).message });
    stop(1);
  }
}

function tell(message: KeeperMessage): void {
  // Whoever waits for it may have been stopped: then nobody is there to be told.
  if (process.connected) process.send?.(message, () => process.connected && process.disconnect());
}

main(process.argv[2] ?? "").catch((error: Error) => {
  tell({ kind: "failed", message: error.message });
  process.stderr.write(`belfry: ${error.stack ?? error}\n`);
  process.exitCode = 1;
});
