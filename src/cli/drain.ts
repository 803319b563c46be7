/** `belfry drain` and `belfry undrain`: takes a node out of service, and back in. */
import { type Command, InvalidArgumentError } from "commander";
import { type Result, refused } from "../base/result.js";
import { type Fleet, fullName, type Placement } from "./fleet.js";
import { hear } from "./fleet-status.js";
import type { Invocation } from "./invocation.js";
import { askLeader, pause } from "./leader.js";
import { findNode, secondsAsMs, wholeNumber } from "./names.js";
import { exitCodes, type Outcome, report } from "./outcome.js";
import { fieldAt, numberAt } from "./report.js";
import { counted } from "./text.js";

interface DrainOptions {
  /** In milliseconds; false for not at all; absent for as long as it is to take. */
  readonly wait?: number | false;
  /** Clients told to move in a second; the platform's own where absent. */
  readonly rate?: number;
  readonly keepClients?: true;
}

/** Beside the time in which all clients are told. */
const spareMs = 60_000;
const waitSecondsMax = 3_600;
const lookEveryMs = 500;
const rateMax = 10_000;
const nodeArgument = "its id as belfry nodes prints it";

export function declareDrain(program: Command, invocation: Invocation): void {
  program
    .command("drain")
    .summary("take all shards and clients from a node, and give it none")
    .description(
      "Puts a node into drain: the others take over its shards one by one, its clients are told " +
        "to move to other edges, so many a second, and it gets no more of either, also after it " +
        "has started again, until undrain. Waits until it has none left; the drain goes on when " +
        "the command has ended. Where no other edge takes clients it keeps those that it has.",
    )
    .argument("<node>", nodeArgument, nodeName)
    .option(
      "--wait <seconds>",
      "for so long (a minute, and as long as telling all clients takes)",
      secondsAsMs(waitSecondsMax),
    )
    .option("--no-wait", "only begin it")
    .option("--rate <n>", "clients told to move in a second (200)", wholeNumber(1, rateMax))
    .option("--keep-clients", "take its shards alone")
    .addHelpText("after", "\nExample:\n  belfry drain dc1-a --wait 120 --rate 200")
    .action(async (node: string, options: DrainOptions) => {
      await invocation.withFleet((fleet) => drain(fleet, invocation, node, options));
    });
  program
    .command("undrain")
    .summary("let a node have shards and clients again")
    .description(
      "Takes a node out of drain: it gets its share of shards again, one move at a time, and " +
        "clients as they come.",
    )
    .argument("<node>", nodeArgument, nodeName)
    .addHelpText("after", "\nExample:\n  belfry undrain dc1-a")
    .action(async (node: string) => {
      await invocation.withFleet((fleet) => undrain(fleet, invocation, node));
    });
}

/** Anything else could not be the name of a node, and the desk would not take it. */
function nodeName(text: string): string {
  if (/^[a-z0-9-]{1,64}(\.[a-z0-9]{1,32})?$/.test(text)) return text;
  throw new InvalidArgumentError("A node is <idc>-<name>.");
}

async function drain(
  fleet: Fleet,
  invocation: Invocation,
  name: string,
  options: DrainOptions,
): Promise<Outcome> {
  const found = nodeIdOf(name, await fleet.placement());
  if (!found.ok) return found;
  const node = found.value;
  const { patience } = invocation;
  const startMs = patience.clock.monotonicMs();
  const shards = await askLeader(fleet, patience, { kind: "drain", node });
  if (!shards.ok) return shards;
  const orders = [shards];
  if (options.keepClients !== true) {
    const { rate } = options;
    const pace = rate === undefined ? {} : { perSecond: rate };
    const clients = await askLeader(fleet, patience, { kind: "edge-drain", node, ...pace });
    if (!clients.ok) return clients;
    orders.push(clients);
  }
  const changed = orders.some(({ value }) => fieldAt(value, "changed") === true);
  return untilDrained(fleet, invocation, { node, changed, startMs }, options);
}

interface Begun {
  readonly node: string;
  readonly changed: boolean;
  readonly startMs: number;
}

async function untilDrained(
  fleet: Fleet,
  invocation: Invocation,
  { node, changed, startMs }: Begun,
  { wait, keepClients }: DrainOptions,
): Promise<Outcome> {
  const { clock } = invocation.patience;
  let waitMs = wait === false ? 0 : wait;
  let shown = "";
  // The table is read from a replica, which may be behind the order at first.
  let wasSeen = false;
  for (;;) {
    const placement = await fleet.placement();
    const held = heldBy(placement, node);
    const edge = keepClients ? emptyEdge : await edgeOf(fleet, placement, node);
    const tookMs = Math.round(clock.monotonicMs() - startMs);
    const isEmpty = held === 0 && edge.connections === 0;
    const document: Drained = { node, changed, done: isEmpty, held, ...edge, tookMs };
    if (isEmpty || wait === false) return report(document, () => describe(document));
    const isDraining = placement.draining.includes(node);
    if (wasSeen && !isDraining) {
      return refused("CONFLICT", `${node} was taken out of drain meanwhile`);
    }
    wasSeen ||= isDraining;
    const left = progress(document);
    if (left !== shown) invocation.tellProgress(`${node} holds ${left}`);
    shown = left;
    waitMs ??= timeFor(edge);
    if (tookMs >= (waitMs ?? spareMs)) {
      return report(document, () => describe(document), exitCodes.refused);
    }
    await pause(clock, lookEveryMs);
  }
}

/** What a node's edge tells of its clients; null for what it does not tell. */
interface EdgeLeft {
  readonly connections: number | null;
  /** In this drain. */
  readonly told: number | null;
  /** Of those: closed, because they had not gone in time. */
  readonly overdue: number | null;
  readonly perSecond: number | null;
  /** No other edge takes them: it keeps those that it has. */
  readonly nowhereToGo: boolean;
}

const emptyEdge: EdgeLeft = {
  ...{ connections: 0, told: null, overdue: null, perSecond: null, nowhereToGo: false },
};

async function edgeOf(fleet: Fleet, { nodes }: Placement, nodeId: string): Promise<EdgeLeft> {
  const node = nodes.find((one) => one.nodeId === nodeId);
  if (node === undefined) return emptyEdge;
  const address = `${fullName(node)}/edge`;
  const heard = await hear(() => fleet.ask(node, { kind: "actor", address }));
  if (!heard.isUp) return { ...emptyEdge, connections: null };
  const connections = numberAt(heard.value, "detail", "connections");
  const drain = fieldAt(heard.value, "detail", "drain");
  const perSecond = numberAt(drain, "perSecond");
  // It may not have heard of the drain yet, and tell of the one before.
  if (perSecond === null) return { ...emptyEdge, connections };
  const [told, overdue] = [numberAt(drain, "told"), numberAt(drain, "overdue")];
  const nowhereToGo = fieldAt(drain, "isHeld") === true;
  return { connections, told, overdue, perSecond, nowhereToGo };
}

/** Undefined as long as that cannot be told. */
function timeFor({ connections, perSecond }: EdgeLeft): number | undefined {
  if (connections === null || perSecond === null) return undefined;
  return spareMs + (connections * 1_000) / perSecond;
}

async function undrain(fleet: Fleet, invocation: Invocation, name: string): Promise<Outcome> {
  const found = nodeIdOf(name, await fleet.placement());
  if (!found.ok) return found;
  const node = found.value;
  let changed = false;
  for (const kind of ["undrain", "edge-undrain"] as const) {
    const answer = await askLeader(fleet, invocation.patience, { kind, node });
    // In drain with its shards alone: then only that is known of a node that is gone.
    if (!answer.ok && !(kind === "edge-undrain" && answer.code === "NOT_FOUND")) return answer;
    changed ||= answer.ok && fieldAt(answer.value, "changed") === true;
  }
  return report({ node, changed }, () =>
    changed ? `${node} is out of drain` : `${node} was not in drain`,
  );
}

/** The leader judges an id; an incarnation that is over is a mistake to be seen here. */
function nodeIdOf(name: string, placement: Placement): Result<string> {
  const [nodeId = name, incarnation] = name.split(".");
  const found = incarnation === undefined ? undefined : findNode(placement, name);
  return found?.ok === false ? found : { ok: true, value: nodeId };
}

/** Its own, and those that it still hands over. */
function heldBy({ shards }: Placement, nodeId: string): number {
  return shards.filter(({ owner, from }) => owner?.nodeId === nodeId || from?.nodeId === nodeId)
    .length;
}

interface Drained extends EdgeLeft {
  readonly node: string;
  readonly changed: boolean;
  /** It has neither shards nor clients. */
  readonly done: boolean;
  /** Shards, as `belfry nodes` counts them. */
  readonly held: number;
  readonly tookMs: number;
}

function describe(document: Drained): string {
  const { node, changed, done, overdue, nowhereToGo, tookMs } = document;
  const state = `${node} ${changed ? "is" : "was already"} in drain`;
  const late = overdue ? `, ${counted(overdue, "client")} closed for staying` : "";
  if (done) return `${state} and holds nothing (${(tookMs / 1_000).toFixed(1)} s${late})`;
  const why = nowhereToGo ? "no other edge takes its clients" : "the drain goes on";
  return `${state} and still holds ${whatIsLeft(document)}; ${why}`;
}

function whatIsLeft({ held, connections }: Drained): string {
  const shards = held === 0 ? [] : [counted(held, "shard")];
  if (connections === 0) return shards.join("");
  const clients =
    connections === null ? "clients it does not tell of" : counted(connections, "client");
  return [...shards, clients].join(" and ");
}

function progress(document: Drained): string {
  const { told, overdue, nowhereToGo } = document;
  const left = whatIsLeft(document);
  if (nowhereToGo) return `${left}: no other edge takes clients`;
  if (told === null) return left;
  return `${left}; ${told} told to move${overdue ? `, ${overdue} closed for staying` : ""}`;
}
