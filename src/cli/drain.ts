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
  /** In milliseconds; false for not at all. */
  readonly wait: number | false;
  /** Clients told to move in a second; the platform's own where absent. */
  readonly rate?: number;
  readonly keepClients?: true;
}

const waitMsDefault = 60_000;
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
        "has started again, until undrain. Waits until it has none left.",
    )
    .argument("<node>", nodeArgument, nodeName)
    .option("--wait <seconds>", "for so long (60)", secondsAsMs(waitSecondsMax), waitMsDefault)
    .option("--no-wait", "only begin it")
    .option("--rate <n>", "clients told to move in a second (500)", wholeNumber(1, rateMax))
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
  { wait: waitMs, keepClients }: DrainOptions,
): Promise<Outcome> {
  const { clock } = invocation.patience;
  let shown = "";
  // The table is read from a replica, which may be behind the order at first.
  let wasSeen = false;
  for (;;) {
    const placement = await fleet.placement();
    const held = heldBy(placement, node);
    const connections = keepClients ? 0 : await connectionsOf(fleet, placement, node);
    const tookMs = clock.monotonicMs() - startMs;
    const document = { node, changed, held, connections, tookMs: Math.round(tookMs) };
    const isEmpty = held === 0 && connections === 0;
    if (isEmpty || waitMs === false) return report(document, () => describe(document));
    const isDraining = placement.draining.includes(node);
    if (wasSeen && !isDraining) {
      return refused("CONFLICT", `${node} was taken out of drain meanwhile`);
    }
    wasSeen ||= isDraining;
    const left = whatIsLeft(document);
    if (left !== shown) invocation.tellProgress(`${node} holds ${left}`);
    shown = left;
    if (tookMs >= waitMs) return report(document, () => describe(document), exitCodes.refused);
    await pause(clock, lookEveryMs);
  }
}

/** Null while the node does not answer. */
async function connectionsOf(
  fleet: Fleet,
  { nodes }: Placement,
  nodeId: string,
): Promise<number | null> {
  const node = nodes.find((one) => one.nodeId === nodeId);
  if (node === undefined) return 0;
  const address = `${fullName(node)}/edge`;
  const heard = await hear(() => fleet.ask(node, { kind: "actor", address }));
  return heard.isUp ? numberAt(heard.value, "detail", "connections") : null;
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

interface Drained {
  readonly node: string;
  readonly changed: boolean;
  readonly held: number;
  readonly connections: number | null;
  readonly tookMs: number;
}

function describe(document: Drained): string {
  const { node, changed, held, connections, tookMs } = document;
  const state = `${node} ${changed ? "is" : "was already"} in drain`;
  if (held > 0 || connections !== 0) return `${state} and still holds ${whatIsLeft(document)}`;
  return `${state} and holds nothing (${(tookMs / 1_000).toFixed(1)} s)`;
}

function whatIsLeft({ held, connections }: Drained): string {
  const shards = held === 0 ? [] : [counted(held, "shard")];
  if (connections === 0) return shards.join("");
  const clients =
    connections === null ? "clients it does not tell of" : counted(connections, "client");
  return [...shards, clients].join(" and ");
}
