/**
 * Nothing accepted is lost, nothing shown twice or out of order, while nodes and NATS are
 * killed and stopped: on the embedded store. See test/support/loss-run.ts.
 */
import { test } from "node:test";
import { nodeEnvironment } from "../support/loss-breakages.js";
import { NodesSaid } from "../support/loss-nodes-said.js";
import { openRequests } from "../support/loss-publishers.js";
import { lineOf } from "../support/loss-report.js";
import { lossSeed, runLossTest } from "../support/loss-run.js";
import { startPlatform } from "../support/platform.js";

test("loses nothing that was accepted, on LMDB", async (t) => {
  const seed = lossSeed();
  t.diagnostic(`LOSS_SEED=${seed}`);
  const nodesSaid = new NodesSaid();
  await using platform = await startPlatform({
    nodes: ["a", "b", "c"],
    environment: { ...nodesSaid.environment, ...nodeEnvironment() },
    isAsShipped: true,
    onLog: nodesSaid.onLog,
  });
  const ways = new Map([
    ["r0", openRequests],
    ["r1", openRequests],
  ]);
  const report = await runLossTest(
    { name: "loss-lmdb", platform, ways, faults: () => [], nodesSaid },
    seed,
  );
  t.diagnostic(lineOf(report));
});
