/**
 * `make run`: a whole system on this machine in the foreground. A private NATS server
 * (or the one of NATS_URL), two node processes on the embedded store, a demo app, and
 * the lines to paste.
 */
import { mkdir } from "node:fs/promises";
import { join, relative } from "node:path";
import { belfryHome } from "./home.js";
import { LocalSystem, type RunningSystem, say } from "./local-system.js";
import { RunInProgress, RunLedger } from "./setup/run-ledger.js";
import type { Topology } from "./topology-file.js";

const topology: Topology = {
  idc: "dc1",
  nodes: [
    { name: "a", port: 8080 },
    { name: "b", port: 8081 },
  ],
  nats: "private",
  store: { kind: "lmdb" },
  demo: true,
};

function report({ natsUrl, nodes, noteFile }: RunningSystem): void {
  say(`
Belfry runs: NATS on ${natsUrl}, nodes on ${nodes.map((node) => node.edgeUrl).join(" and ")}.

  1. Open the page, enter the name alice:       ${nodes[0]?.httpUrl}/demo/
  2. Push to her from another terminal:         npx belfry push demo alice '{"text":"hello"}'
  3. Look at her inbox:                         npx belfry user demo alice --json
  4. Look at the actors:                        npx belfry topology

From any NATS client: publish or request on push.demo.user.alice, e.g. {"body":"hello"}
(user and password of the demo app: ${relative(process.cwd(), noteFile)}).
Ctrl-C stops everything.
`);
}

async function main(): Promise<void> {
  const home = belfryHome(process.env);
  await mkdir(home, { recursive: true });
  const ledger = await RunLedger.claim(join(home, "run.json"));
  const run = new LocalSystem({ home, folder: home, topology }, ledger);
  const stop = (code: number) => {
    run.stop().then(
      () => process.exit(code),
      (error) => {
        process.stderr.write(`belfry: ${error.stack ?? error}\n`);
        process.exit(1);
      },
    );
  };
  process.on("SIGINT", () => stop(0));
  process.on("SIGTERM", () => stop(0));
  process.on("SIGHUP", () => stop(0));
  try {
    const running = await run.start();
    if (running !== undefined) report(running);
  } catch (error) {
    if (run.isStopping) return;
    process.stderr.write(`belfry: ${(error as Error).message}\n`);
    stop(1);
  }
}

main().catch((error) => {
  // A folder that cannot be written is the user's to mend: its sentence names it.
  const isExpected = error instanceof RunInProgress || typeof error.code === "string";
  const text = isExpected ? error.message : (error.stack ?? String(error));
  process.stderr.write(`belfry: ${text}\n`);
  process.exit(1);
});
