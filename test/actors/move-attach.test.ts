/**
 * The connections of shards that move are served by the new owner at once: the table and the
 * owner's own call both make their edge attach them, one after the other.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { OperatePlacement } from "../../src/protocol/messages.js";
import { encodeDesk } from "../../src/protocol/operator-desk.js";
import { operatorSubject } from "../../src/protocol/subjects.js";
import { NodeBench } from "../support/node-bench.js";

const clientCount = 1_600;

async function drainShards(bench: NodeBench, node: string): Promise<void> {
  const request = { kind: "drain", node } satisfies Partial<OperatePlacement["request"]>;
  const asked = bench.nodes.map(({ context: { nodeId, incarnation } }) =>
    bench.server.request(operatorSubject(nodeId, incarnation), encodeDesk(request), 5_000),
  );
  void Promise.allSettled(asked);
}

test("a push in a move reaches its device when the move is over, and no later", async () => {
  const bench = await NodeBench.start(["a", "b", "c"]);
  const c = bench.node("c");
  const clients = Array.from({ length: clientCount }, (_, at) => c.edge.connect(`u${at}`, "phone"));
  await bench.until("all are attached", () => clients.every(({ isAttached }) => isAttached));
  await bench.run(5_000);
  await drainShards(bench, "dc1-a");
  await bench.until("a shard moves", () => bench.isMoving());
  await bench.until("a has none", () => !bench.isMoving() && !bench.owners().includes("dc1-a"));
  for (let at = 0; at < clientCount; at++) bench.publish(`u${at}`, { body: at });
  const tookMs = await bench.until("all have it", () =>
    clients.every(({ bodies }) => bodies.length === 1),
  );
  assert.ok(tookMs <= 200, `the last one has it after ${tookMs} ms`);
  assert.deepEqual(bench.crashes, []);
});
