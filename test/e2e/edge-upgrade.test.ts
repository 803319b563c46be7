/**
 * A node with clients is replaced by one of a newer version, on real processes: SIGTERM, then
 * a start under the same name. Nothing is lost, and each client connects once more.
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import type { DispatchAnswer } from "../../actors/dispatcher.js";
import { makeNewerVersion, newerVersion } from "../support/newer-version.js";
import { type Platform, startPlatform } from "../support/platform.js";
import { PushedClients } from "../support/pushed-clients.js";
import { until } from "../support/until.js";

const clientCount = 300;

async function told(platform: Platform, node: string): Promise<readonly string[]> {
  const response = await fetch(`${platform.node(node).httpUrl}/edges?key=k`);
  return ((await response.json()) as DispatchAnswer).edges.map(({ url }) => url);
}

test("a node is upgraded under its clients: nothing lost, each connects once more", async (t) => {
  await using platform = await startPlatform();
  const program = await makeNewerVersion(join(platform.folder, "newer"));
  await until("both tell of both", async () => (await told(platform, "b")).length === 2);
  const clients = await PushedClients.start(platform, clientCount, ["a"]);
  assert.equal(clients.sockets.openOn("a"), clientCount);
  await clients.untilAccepted(200);
  const startMs = performance.now();
  await platform.killNode("a", "SIGTERM");
  const stoppedMs = performance.now() - startMs;
  await clients.untilAttached();
  await platform.startNode("a", {}, process.execPath, program);
  await until("it has its record", async () => {
    const record = await platform.nodeRecord("dc1-a").catch(() => undefined);
    return record?.version === newerVersion;
  });
  await until("it has its share again", async () => {
    return (await platform.shardCounts()).get("dc1-a") === 2_048;
  });
  await until("b tells of it again", async () => (await told(platform, "b")).length === 2);
  await clients.untilAccepted(200);
  await clients.settle();
  t.diagnostic(
    `stopped in ${stoppedMs.toFixed(0)} ms; ${clients.accepted} pushes accepted, ` +
      `${clients.failed.length} answers that had to be asked for again`,
  );
  assert.equal(clients.sockets.openOn("b"), clientCount);
  for (const client of clients.all) {
    assert.equal(clients.connectsOf(client), 2, `${client.uid}: ${client.lastError}`);
    assert.doesNotMatch(client.lastError, /4000/, "told to move, not closed");
  }
});
