/**
 * Nothing accepted is lost, nothing shown twice or out of order, while nodes, NATS, Redis
 * and MariaDB are killed and stopped. See test/support/loss-run.ts.
 */
import { test } from "node:test";
import type { KeptNodes } from "../support/kept-nodes.js";
import { nodeEnvironment } from "../support/loss-breakages.js";
import { mariadbFaults, redisFaults } from "../support/loss-faults.js";
import { NodesSaid } from "../support/loss-nodes-said.js";
import { openRequests } from "../support/loss-publishers.js";
import { lineOf } from "../support/loss-report.js";
import { lossSeed, runLossTest } from "../support/loss-run.js";
import { startPlatform } from "../support/platform.js";
import { startStoreServers } from "../support/store-servers.js";

test("loses nothing that was accepted, on Redis and MySQL", async (t) => {
  const seed = lossSeed();
  t.diagnostic(`LOSS_SEED=${seed}`);
  const nodesSaid = new NodesSaid();
  await using servers = await startStoreServers();
  const { redis, mariadb, environment } = servers;
  await using platform = await startPlatform({
    nodes: ["a", "b", "c"],
    environment: {
      ...environment,
      ...nodesSaid.environment,
      ...nodeEnvironment(),
    },
    isAsShipped: true,
    onLog: nodesSaid.onLog,
  });
  const ways = new Map([
    ["r0", openRequests],
    ["r1", openRequests],
  ]);
  const faults = (nodes: KeptNodes) => [...redisFaults(redis), ...mariadbFaults(mariadb, nodes)];
  const plan = { name: "loss-redis-mysql", platform, ways, faults, nodesSaid };
  t.diagnostic(lineOf(await runLossTest(plan, seed)));
});
