/** `belfry topology`: the tree of actors, from the datacenters down. */
import type { Command } from "commander";
import { treeChildrenMax, treeDepthMax } from "../protocol/operator-desk.js";
import {
  type Branch,
  branchOf,
  countKinds,
  type KindSummary,
  type Notable,
  notables,
} from "./actor-tree.js";
import { type Fleet, type FleetNode, fullName, type Placement } from "./fleet.js";
import { type Heard, hear, hearStatus, isLeader } from "./fleet-status.js";
import type { Invocation } from "./invocation.js";
import { findNode, wholeNumber } from "./names.js";
import { exitCodes, type Outcome, report } from "./outcome.js";
import { numberAt } from "./report.js";
import { counted, headings, type Paint, type Row, table } from "./text.js";
import { type Walk, walk } from "./walk.js";

interface TopologyOptions {
  readonly depth: number;
  readonly children: number;
  readonly node?: string;
}

/** Node, roots, groups, shards, sessions. */
const depthDefault = 4;
const childrenDefault = 16;
const notablesMax = 50;

export function declareTopology(program: Command, invocation: Invocation): void {
  program
    .command("topology")
    .summary("show the tree of actors")
    .description(
      "Prints the actors of every node with mailboxes, messages and restarts. Where there are " +
        "many children they are summed by kind; restarted ones are always named.",
    )
    .option("--depth <n>", "levels below a node", wholeNumber(1, treeDepthMax), depthDefault)
    .option(
      "--children <n>",
      "up to so many are listed one by one",
      wholeNumber(0, treeChildrenMax),
      childrenDefault,
    )
    .option("--node <id>", "only this node")
    .addHelpText("after", "\nExample:\n  belfry topology --node dc1-a --depth 2")
    .action(async (options: TopologyOptions) => {
      await invocation.withFleet((fleet) => topology(fleet, options));
    });
}

async function topology(fleet: Fleet, options: TopologyOptions): Promise<Outcome> {
  const placement = await fleet.placement();
  let wanted = placement.nodes;
  if (options.node !== undefined) {
    const found = findNode(placement, options.node);
    if (!found.ok) return found;
    wanted = [found.value];
  }
  const views = await Promise.all(wanted.map((node) => viewOf(fleet, placement, node, options)));
  const idcs = [...new Set(views.map(({ idc }) => idc))].sort();
  const document = {
    idcs: idcs.map((idc) => ({ idc, nodes: views.filter((view) => view.idc === idc) })),
  };
  const isAnybodyUp = views.some((view) => view.state === "up");
  return report(
    document,
    (paint) => describe(document.idcs, paint),
    isAnybodyUp ? exitCodes.done : exitCodes.silent,
  );
}

async function viewOf(
  fleet: Fleet,
  placement: Placement,
  node: FleetNode,
  { depth, children }: TopologyOptions,
) {
  const [heard, status] = await Promise.all([
    hear(async () => {
      const walked = await walk(fleet, node, depth);
      return walked.ok ? { ok: true, value: walked } : walked;
    }),
    hearStatus(fleet, node),
  ]);
  const { nodeId, incarnation, idc, version } = node;
  const report = status.isUp ? status.value : undefined;
  return {
    nodeId,
    incarnation,
    idc,
    version,
    isLeader: isLeader(placement, node),
    state: heard.isUp ? "up" : "silent",
    crashes: numberAt(report, "counters", "crashes"),
    restarts: numberAt(report, "counters", "restarts"),
    ...treeView(heard, fullName(node), children),
  };
}

function treeView(heard: Heard<Walk>, address: string, listedMax: number) {
  if (!heard.isUp) return { reason: heard.reason, kinds: {}, notable: [], tree: null };
  const { tree, depth, isAsDeepAsAsked } = heard.value;
  return {
    depth,
    isAsDeepAsAsked,
    kinds: countKinds(tree),
    notable: notables(tree, address, notablesMax),
    tree: branchOf(tree, address, listedMax),
  };
}

type NodeView = Awaited<ReturnType<typeof viewOf>>;

// ---- as text ----

const noFigures: Row = ["", "", "", "", ""];

function describe(
  idcs: readonly { readonly idc: string; readonly nodes: readonly NodeView[] }[],
  paint: Paint,
): string {
  const rows: Row[] = [headings("ACTOR", "KIND", "STATE", "MAILBOX", "PROCESSED", "RESTARTS")];
  for (const { idc, nodes } of idcs) {
    rows.push([{ text: idc, style: "bold" }, ...noFigures]);
    for (const [index, node] of nodes.entries()) {
      addNode(rows, node, index === nodes.length - 1);
    }
  }
  const views = idcs.flatMap(({ nodes }) => nodes);
  return [table(rows, paint), ...views.flatMap((view) => remarks(view, paint))].join("\n");
}

function addNode(rows: Row[], node: NodeView, isLast: boolean): void {
  const label = `${isLast ? "└─ " : "├─ "}${fullName(node)}${node.isLeader ? " *" : ""}`;
  if (node.tree === null) {
    rows.push([label, "node", { text: "silent", style: "red" }, null, null, null]);
    return;
  }
  rows.push([label, "node", { text: "up", style: "green" }, "", "", restartCell(node.restarts)]);
  addBelow(rows, node.tree, isLast ? "   " : "│  ");
}

function addBelow(rows: Row[], branch: Branch, indent: string): void {
  const { children, summaries } = branch;
  for (const [index, child] of children.entries()) {
    const isLast = index === children.length - 1;
    rows.push(branchRow(child, indent + (isLast ? "└─ " : "├─ ")));
    addBelow(rows, child, indent + (isLast ? "   " : "│  "));
  }
  addSummaries(rows, summaries, indent);
}

function addSummaries(rows: Row[], summaries: readonly KindSummary[], indent: string): void {
  for (const [index, summary] of summaries.entries()) {
    const isLast = index === summaries.length - 1;
    rows.push(summaryRow(summary, indent + (isLast ? "└─ " : "├─ ")));
    addSummaries(rows, summary.below, indent + (isLast ? "   " : "│  "));
  }
}

function branchRow(branch: Branch, indent: string): Row {
  const { key, kind, state, mailbox, processed, restarts } = branch;
  const isNotable = restarts > 0 || state !== "live";
  return [
    isNotable ? { text: `${indent}! ${key}`, style: "red" } : `${indent}${key}`,
    kind,
    state === "live" ? state : { text: state, style: "red" },
    mailbox,
    processed,
    restartCell(restarts),
  ];
}

function summaryRow({ kind, count, walked, ...sums }: KindSummary, indent: string): Row {
  const label = `${indent}${count} × ${kind}`;
  if (walked === 0) return [label, kind, { text: "not walked", style: "dim" }, null, null, null];
  const isWhole = walked === count;
  return [
    sums.restarts > 0 ? { text: label, style: "red" } : label,
    kind,
    isWhole ? "" : { text: `${walked} walked`, style: "dim" },
    sums.mailbox,
    sums.processed,
    restartCell(sums.restarts),
  ];
}

function restartCell(restarts: number | null): Row[number] {
  if (restarts === null || restarts === 0) return restarts;
  return { text: `${restarts} !`, style: "red" };
}

/** Addresses to hand to `belfry actor`, and what the picture leaves out. */
function remarks(view: NodeView, paint: Paint): string[] {
  if (view.tree === null) return [`\n${fullName(view)} is silent: ${view.reason}`];
  const lines: string[] = [];
  if (view.notable.length > 0) {
    const title = `\n! ${counted(view.notable.length, "actor")} of ${fullName(view)} to look at:`;
    lines.push(paint(title, "red"), table(view.notable.map(notableRow), paint));
  }
  if (!view.isAsDeepAsAsked) {
    lines.push(`\n${fullName(view)} has too many actors to walk below level ${view.depth}.`);
  }
  return lines;
}

function notableRow({ address, kind, state, restarts }: Notable): Row {
  const times = restarts === 1 ? "once" : `${restarts} times`;
  return ["", address, kind, restarts === 0 ? state : `${state}, restarted ${times}`];
}
