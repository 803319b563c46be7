/** `belfry edges`: what each edge holds, whom it refused and why, and the switch for all. */
import { type Command, InvalidArgumentError } from "commander";
import { isMap } from "../protocol/codec.js";
import { isPercent } from "../protocol/edge-switch.js";
import { declareEdgesHeartbeat } from "./edges-heartbeat.js";
import { type Fleet, type FleetNode, fullName } from "./fleet.js";
import { hearStatus } from "./fleet-status.js";
import type { Invocation } from "./invocation.js";
import { askLeader } from "./leader.js";
import { exitCodes, type Outcome, report } from "./outcome.js";
import { fieldAt, numberAt } from "./report.js";
import { headings, type Paint, type Row, table } from "./text.js";

export function declareEdges(program: Command, invocation: Invocation): void {
  const edges = program.command("edges").summary("show the edges and whom they refuse");
  edges.addHelpText("after", "\nExample:\n  belfry edges --json");
  edges
    .command("show", { isDefault: true })
    .summary("show each edge's connections, refusals and closes")
    .description(
      "Prints every node's edge: its connections and their bound, the share of handshakes that " +
        "is let in, the loop's lag, QoS 0 messages that slow clients were not sent, handshakes " +
        "refused by reason, connections closed by reason, all since the edge started. Exit code " +
        "3 when no node answers.",
    )
    .addHelpText("after", "\nExample:\n  belfry edges --json")
    .action(async () => {
      await invocation.withFleet(show);
    });
  edges
    .command("let-in")
    .summary("let in a share of all handshakes")
    .description(
      "Sets what share of all handshakes the edges of this datacenter let in; the others get " +
        "503 with Retry-After. Who is connected stays. It lasts until it is set again.",
    )
    .argument("<percent>", "0 to 100", percent)
    .addHelpText("after", "\nExample:\n  belfry edges let-in 20")
    .action(async (share: number) => {
      await invocation.withFleet((fleet) => letIn(fleet, invocation, share));
    });
  declareEdgesHeartbeat(edges, invocation);
}

function percent(text: string): number {
  const number = text.trim() === "" ? Number.NaN : Number(text);
  if (isPercent(number)) return number;
  throw new InvalidArgumentError("A share is 0 to 100.");
}

async function letIn(fleet: Fleet, invocation: Invocation, share: number): Promise<Outcome> {
  const request = { kind: "let-in", percent: share } as const;
  const answer = await askLeader(fleet, invocation.patience, request);
  if (!answer.ok) return answer;
  return report({ letInPercent: share }, () => `${share} % of all handshakes are let in`);
}

async function show(fleet: Fleet): Promise<Outcome> {
  const { nodes } = await fleet.placement();
  const edges = await Promise.all(nodes.map((node) => edgeOf(fleet, node)));
  const isAnybodyUp = edges.some(({ state }) => state === "up");
  return report(
    { edges },
    (paint) => describe(edges, paint),
    isAnybodyUp ? exitCodes.done : exitCodes.silent,
  );
}

async function edgeOf(fleet: Fleet, node: FleetNode) {
  const heard = await hearStatus(fleet, node);
  const own = heard.isUp ? heard.value : undefined;
  return {
    node: fullName(node),
    edgeUrl: node.edgeUrl,
    state: heard.isUp ? "up" : "silent",
    ...(heard.isUp ? {} : { reason: heard.reason }),
    connections: numberAt(own, "edge", "connections"),
    connectionsMax: numberAt(own, "edge", "connectionsMax"),
    furtherSessions: numberAt(own, "edge", "furtherSessions"),
    opened: numberAt(own, "edge", "opened"),
    letInPercent: numberAt(own, "edge", "letInPercent"),
    waiting: numberAt(own, "edge", "waiting"),
    waited: numberAt(own, "edge", "waited"),
    held: numberAt(own, "edge", "held"),
    lagMs: numberAt(own, "edge", "lagMs"),
    passingDropped: numberAt(own, "edge", "passingDropped"),
    unknownSessions: numberAt(own, "edge", "unknownSessions"),
    refused: fieldAt(own, "edge", "refused") ?? null,
    closed: fieldAt(own, "edge", "closed") ?? null,
    calls: fieldAt(own, "edge", "calls") ?? null,
    sockets: fieldAt(own, "edge", "sockets") ?? null,
  };
}

type EdgeView = Awaited<ReturnType<typeof edgeOf>>;

function describe(edges: readonly EdgeView[], paint: Paint): string {
  if (edges.length === 0) return "no nodes";
  const titles = headings(
    ...[
      "NODE",
      "STATE",
      "CONNECTIONS",
      "BOUND",
      "OPENED",
      "LET IN",
      "LAG",
      "DROPPED",
      "REFUSED",
      "CLOSED",
    ],
  );
  return table([titles, ...edges.map(rowOf)], paint);
}

function rowOf(edge: EdgeView): Row {
  const { letInPercent, lagMs } = edge;
  return [
    edge.node,
    edge.state === "up" ? { text: "up", style: "green" } : { text: "silent", style: "red" },
    ...[edge.connections, edge.connectionsMax, edge.opened],
    letInPercent === null ? null : letInCell(letInPercent),
    lagMs === null ? null : `${lagMs} ms`,
    edge.passingDropped,
    ...[byReason(edge.refused), byReason(edge.closed)],
  ];
}

function letInCell(share: number): Row[number] {
  return share === 100 ? "all" : { text: `${share} %`, style: "yellow" };
}

/** Those alone that there were. */
function byReason(counts: unknown): string {
  if (!isMap(counts)) return "";
  return Object.entries(counts)
    .filter(([, count]) => count !== 0)
    .map(([reason, count]) => `${count} ${reason}`)
    .join(", ");
}
