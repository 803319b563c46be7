/** Orders about edges on virtual time, and who of their clients has been told to move. */
import assert from "node:assert/strict";
import { decodeDeskAnswer } from "../../src/cli/answer.js";
import type { DispatcherRequest } from "../../src/protocol/dispatcher-request.js";
import { encodeDesk } from "../../src/protocol/operator-desk.js";
import { operatorSubject } from "../../src/protocol/subjects.js";
import type { BenchClient } from "./bench-edge.js";
import type { BenchNode, NodeBench } from "./node-bench.js";

/** As the node `b` of the bench answers an operator; nothing is changed where it refuses. */
export async function ask(
  bench: NodeBench,
  request: DispatcherRequest,
): Promise<ReturnType<typeof decodeDeskAnswer>> {
  const { nodeId, incarnation } = bench.node("b").context;
  let bytes: Uint8Array | undefined;
  const subject = operatorSubject(nodeId, incarnation);
  void bench.server.request(subject, encodeDesk(request), 5_000).then((answer) => {
    bytes = answer;
  });
  await bench.until("the desk has answered", () => bytes !== undefined);
  return decodeDeskAnswer(bytes as Uint8Array);
}

export async function order(bench: NodeBench, request: DispatcherRequest): Promise<void> {
  const answer = await ask(bench, request);
  assert.ok(answer.ok, JSON.stringify(answer));
}

export async function attachAll(
  bench: NodeBench,
  node: BenchNode,
  count: number,
): Promise<BenchClient[]> {
  const clients = Array.from({ length: count }, (_, at) => node.edge.connect(`u${at}`, "phone"));
  await bench.until("all are attached", () => clients.every((client) => client.isAttached));
  return clients;
}

export function toldOf(clients: readonly BenchClient[]): number {
  return clients.filter((client) => client.directives.length > 0).length;
}

/** What an operator sees of the node's edge. */
export function insideEdge(node: BenchNode): Record<string, unknown> {
  const ref = node.system.find("edge");
  return ref?.cell.inspect() as Record<string, unknown>;
}
