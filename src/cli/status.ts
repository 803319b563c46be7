/** `belfry status`: the nodes side by side, and who leads. */
import type { Command } from "commander";
import type { Clock } from "../base/clock.js";
import { countKinds } from "./actor-tree.js";
import { type Fleet, type FleetNode, fullName, type Placement } from "./fleet.js";
import { hear, hearStatus, isLeader } from "./fleet-status.js";
import type { Invocation } from "./invocation.js";
import { exitCodes, type Outcome, report } from "./outcome.js";
import { fieldAt, listAt, numberAt, sumAt } from "./report.js";
import { countStates } from "./shards.js";
import { duration, headings, type Paint, type Row, table } from "./text.js";
import { walk } from "./walk.js";

/** Root, its children, the groups, their shards: shards count their sessions. */
const depthToShards = 3;
/** Beyond it (one group per shard, as networked stores have) groups are not added up. */
const groupsAskedMax = 64;

export function declareStatus(program: Command, invocation: Invocation): void {
  program
    .command("status")
    .summary("show the nodes and what they carry")
    .description(
      "Prints every node with its lease, uptime, connections, sessions, shards, commits, refused pushes, dead " +
        "letters and restarts, and who leads the placement. Exit code 3 when no node answers.",
    )
    .addHelpText("after", "\nExample:\n  belfry status --json")
    .action(async () => {
      await invocation.withFleet((fleet) => status(fleet, invocation.world.clock));
    });
}

async function status(fleet: Fleet, clock: Clock): Promise<Outcome> {
  const placement = await fleet.placement();
  const nodes = await Promise.all(
    placement.nodes.map((node) => statusOf(fleet, placement, node, clock.wallMs())),
  );
  const { leader, shards, unreadable = [] } = placement;
  const document = {
    natsUrl: fleet.natsUrl,
    leader: leader ?? null,
    shards: countStates(shards),
    unreadable,
    nodes,
  };
  const isAnybodyUp = nodes.some((node) => node.state === "up");
  return report(
    document,
    (paint) => describe(document, paint),
    isAnybodyUp ? exitCodes.done : exitCodes.silent,
  );
}

async function statusOf(fleet: Fleet, placement: Placement, node: FleetNode, nowMs: number) {
  const heard = await hearStatus(fleet, node);
  const own = heard.isUp ? heard.value : undefined;
  const groups = heard.isUp ? await askGroups(fleet, node, own) : null;
  return {
    ...node,
    uptimeMs: Math.max(0, nowMs - node.startedAtMs),
    isLeader: isLeader(placement, node),
    state: heard.isUp ? "up" : "silent",
    ...(heard.isUp ? {} : { reason: heard.reason }),
    isLeaseHeld: fieldAt(own, "membership", "isLeaseHeld") ?? null,
    shards: placement.shards.filter(
      ({ owner }) => owner !== undefined && fullName(owner) === fullName(node),
    ).length,
    connections: numberAt(own, "edge", "connections"),
    sessions: heard.isUp ? await countSessions(fleet, node) : null,
    commits: groups && sumOf(groups, "commits"),
    unpublished: groups && sumOf(groups, "unpublished"),
    lost: groups && sumOf(groups, "lost"),
    heldBack: groups?.map((group) => fieldAt(group, "detail", "heldBack")).find(Boolean) ?? null,
    refused: sumAt(own, "shards", "admission", "refused"),
    deadLetters: sumAt(own, "counters", "deadLetters"),
    crashes: numberAt(own, "counters", "crashes"),
    restarts: numberAt(own, "counters", "restarts"),
    report: own ?? null,
  };
}

async function countSessions(fleet: Fleet, node: FleetNode): Promise<number | null> {
  const heard = await hear(async () => {
    const walked = await walk(fleet, node, depthToShards);
    if (!walked.ok) return walked;
    return { ok: true, value: walked.isAsDeepAsAsked ? walked.tree : undefined };
  });
  if (!heard.isUp || heard.value === undefined) return null;
  return countKinds(heard.value)["session"] ?? 0;
}

/** What each says of itself; null where they are too many to be asked. */
async function askGroups(
  fleet: Fleet,
  node: FleetNode,
  status: unknown,
): Promise<readonly unknown[] | null> {
  const groups = listAt(status, "shards", "groups");
  if (groups.length > groupsAskedMax) return null;
  return Promise.all(
    groups.map(async (group) => {
      const address = `${fullName(node)}/shards/${group}`;
      const heard = await hear(() => fleet.ask(node, { kind: "actor", address }));
      return heard.isUp ? heard.value : undefined;
    }),
  );
}

/** A group that is being opened again has no figures yet. */
function sumOf(groups: readonly unknown[], field: string): number {
  return groups.reduce<number>((sum, group) => sum + (numberAt(group, "detail", field) ?? 0), 0);
}

type NodeStatus = Awaited<ReturnType<typeof statusOf>>;

function describe(
  document: {
    readonly natsUrl: string;
    readonly leader: Placement["leader"] | null;
    readonly shards: Readonly<Record<string, number>>;
    readonly unreadable: readonly string[];
    readonly nodes: readonly NodeStatus[];
  },
  paint: Paint,
): string {
  const { leader, shards, unreadable, nodes } = document;
  const states = Object.entries(shards)
    .filter(([state, count]) => count > 0 || state === "serving")
    .map(([state, count]) => `${count} ${state}`);
  const head: Row[] = [
    ["nats", document.natsUrl],
    ["leader", leader ? `${fullName(leader)}, epoch ${leader.epoch}` : null],
    ["shards", states.join(", ")],
  ];
  // Nobody acts on these: they are broken, or a newer Belfry's.
  if (unreadable.length > 0) {
    head.push(["unreadable", { text: unreadable.join(", "), style: "red" }]);
  }
  const changes = changesCell(nodes);
  if (changes !== undefined) head.push(["changes", changes]);
  const titles = headings(
    ...["NODE", "STATE", "UP", "VERSION", "LEASE", "CONNECTIONS", "SESSIONS", "SHARDS"],
    ...["COMMITS", "REFUSED", "DEAD", "CRASHES", "RESTARTS"],
  );
  const body = nodes.length === 0 ? "no nodes" : table([titles, ...nodes.map(rowOf)], paint);
  return `${table(head, paint)}\n\n${body}`;
}

/** Undefined while all that happened was told to whom it concerns. */
function changesCell(nodes: readonly NodeStatus[]): Row[number] | undefined {
  const sum = (of: (node: NodeStatus) => number | null) =>
    nodes.reduce((total, node) => total + (of(node) ?? 0), 0);
  const [unpublished, lost] = [sum((node) => node.unpublished), sum((node) => node.lost)];
  const heldBack = nodes.map((node) => node.heldBack).find((reason) => typeof reason === "string");
  const because = typeof heldBack === "string" ? `, held back: ${heldBack}` : "";
  if (lost > 0) {
    return { text: `${lost} lost, ${unpublished} unpublished${because}`, style: "red" };
  }
  if (because !== "") return { text: `${unpublished} unpublished${because}`, style: "yellow" };
  return undefined;
}

function rowOf(node: NodeStatus): Row {
  const isUp = node.state === "up";
  return [
    `${fullName(node)}${node.isLeader ? " *" : ""}`,
    isUp ? { text: "up", style: "green" } : { text: "silent", style: "red" },
    isUp ? duration(node.uptimeMs) : null,
    node.version,
    node.isLeaseHeld === null ? null : leaseCell(node),
    node.connections,
    node.sessions,
    node.shards,
    node.commits,
    warned(node.refused),
    node.deadLetters,
    warned(node.crashes),
    warned(node.restarts),
  ];
}

function leaseCell({ isLeaseHeld, leaseMs }: NodeStatus): Row[number] {
  if (isLeaseHeld === true) return `${leaseMs / 1000}s`;
  return { text: "lost", style: "red" };
}

function warned(count: number | null): Row[number] {
  return count === null || count === 0 ? count : { text: String(count), style: "yellow" };
}
