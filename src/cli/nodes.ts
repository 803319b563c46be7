/** `belfry nodes`: each node with its part in the placement, what it carries, and if it answers. */
import type { Command } from "commander";
import { type Fleet, type FleetNode, fullName, type Placement } from "./fleet.js";
import { type Heard, hearStatus, isLeader } from "./fleet-status.js";
import type { Invocation } from "./invocation.js";
import { hearLeader } from "./leader.js";
import { exitCodes, type Outcome, report } from "./outcome.js";
import { fieldAt, listAt, numberAt, sumAt, textAt } from "./report.js";
import { headings, type Paint, type Row, table } from "./text.js";

export function declareNodes(program: Command, invocation: Invocation): void {
  program
    .command("nodes")
    .summary("show the nodes and their part in the placement")
    .description(
      "Prints every node: which leads, which are in drain, its shards by state, messages a " +
        "second, weight, connections, version, whether it is well, holds its lease and answers. " +
        "Exit code 3 when no node answers.",
    )
    .addHelpText("after", "\nExample:\n  belfry nodes --json")
    .action(async () => {
      await invocation.withFleet(nodes);
    });
}

async function nodes(fleet: Fleet): Promise<Outcome> {
  const placement = await fleet.placement();
  const leader = await hearLeader(fleet, placement);
  const views = await Promise.all(
    placement.nodes.map(async (node) => {
      return viewOf(placement, node, await hearStatus(fleet, node), leader);
    }),
  );
  // In drain, and gone: its id waits for it.
  const absent = placement.draining.filter(
    (nodeId) => !placement.nodes.some((node) => node.nodeId === nodeId),
  );
  const document = { nodes: views, absentInDrain: absent };
  const isAnybodyUp = views.some(({ state }) => state === "up");
  return report(
    document,
    (paint) => describe(views, absent, paint),
    isAnybodyUp ? exitCodes.done : exitCodes.silent,
  );
}

function viewOf(
  placement: Placement,
  node: FleetNode,
  status: Heard<unknown>,
  leader: Heard<unknown>,
) {
  const { nodeId, incarnation, version, unwell, cannotServe = [] } = node;
  const own = status.isUp ? status.value : undefined;
  const report = leader.isUp ? leader.value : undefined;
  const load = listAt(report, "nodes").find((one) => textAt(one, "incarnation") === incarnation);
  return {
    nodeId,
    incarnation,
    version,
    state: status.isUp ? "up" : "silent",
    ...(status.isUp ? {} : { reason: status.reason }),
    unwell: unwell ?? null,
    cannotServe,
    isLeaseHeld: fieldAt(own, "membership", "isLeaseHeld") ?? null,
    isLeader: isLeader(placement, node),
    isDraining: placement.draining.includes(nodeId),
    shards: shardsOf(placement, node),
    messagesPerSecond: numberAt(load, "perSecond"),
    sessions: numberAt(load, "sessions"),
    weight: numberAt(load, "weight"),
    connections: numberAt(own, "edge", "connections"),
    refused: fieldAt(own, "shards", "admission", "refused") ?? null,
    lagMs: numberAt(own, "shards", "admission", "lagMs"),
  };
}

function shardsOf({ shards }: Placement, node: FleetNode) {
  const counts = { serving: 0, arriving: 0, leaving: 0 };
  for (const { owner, from, state } of shards) {
    const isOwner = owner !== undefined && fullName(owner) === fullName(node);
    if (isOwner && state === "moving") counts.arriving++;
    else if (isOwner) counts.serving++;
    if (from !== undefined && fullName(from) === fullName(node)) counts.leaving++;
  }
  return counts;
}

type NodeView = ReturnType<typeof viewOf>;

function describe(views: readonly NodeView[], absent: readonly string[], paint: Paint): string {
  if (views.length === 0) return "no nodes";
  const titles = headings(
    ...["NODE", "STATE", "ROLE", "SHARDS", "ARRIVING", "LEAVING", "MESSAGES/S", "SESSIONS"],
    ...["WEIGHT", "CONNECTIONS", "REFUSED", "VERSION"],
  );
  const lines = table([titles, ...views.map(rowOf)], paint);
  return absent.length === 0 ? lines : `${lines}\n\nin drain and not there: ${absent.join(", ")}`;
}

function rowOf(view: NodeView): Row {
  const { serving, arriving, leaving } = view.shards;
  const roles = [view.isLeader ? "leads" : "", view.isDraining ? "in drain" : ""];
  return [
    fullName(view),
    stateCell(view),
    roles.filter((role) => role !== "").join(", "),
    ...[serving, arriving, leaving],
    ...[view.messagesPerSecond, view.sessions, view.weight, view.connections],
    sumAt(view, "refused"),
    view.version,
  ];
}

function stateCell({ state, isLeaseHeld, unwell, cannotServe }: NodeView): Row[number] {
  if (state !== "up") return { text: "silent", style: "red" };
  if (unwell !== null) return { text: `unwell: ${unwell}`, style: "red" };
  if (cannotServe.length > 0) {
    return { text: `up, cannot serve groups ${cannotServe.join(", ")}`, style: "yellow" };
  }
  if (isLeaseHeld === false) return { text: "up, lease lost", style: "red" };
  return { text: "up", style: "green" };
}
