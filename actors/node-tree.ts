/**
 * The tree of one node, wherever it runs: the daemon, the simulator, a test on virtual time.
 *
 *   journal · membership · placement · shards (→ groups → shards → sessions) · edge (→ connections) ·
 *   health · desk; the journal only where one is kept
 *
 * Roots stop in the reverse order: sockets are told to go, what is accepted is written, and
 * the lease is given up last.
 */
import type { ActorSystem } from "../src/runtime/system.js";
import { Edge } from "./edge.js";
import { NodeHealth } from "./health.js";
import { JournalWriter } from "./journal-writer.js";
import { Membership } from "./membership.js";
import type { NodeContext } from "./node-context.js";
import { OperatorDesk } from "./operator-desk.js";
import { Placement } from "./placement.js";
import { ShardHost } from "./shard-host.js";

export function spawnNode(system: ActorSystem, node: NodeContext): void {
  const { journal, journalStore } = node;
  if (journal !== undefined && journalStore !== undefined) {
    // First, so that it ends last: the others' last steps are kept, too.
    system.spawnRoot("journal", () => new JournalWriter(node, journal, journalStore));
  }
  system.spawnRoot("membership", () => new Membership(node));
  system.spawnRoot("placement", () => new Placement(node));
  system.spawnRoot("shards", () => new ShardHost(node));
  system.spawnRoot("edge", () => new Edge(node));
  system.spawnRoot("health", () => new NodeHealth(node));
  system.spawnRoot("desk", () => new OperatorDesk(node, () => system));
}
