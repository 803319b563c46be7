/** `belfry drain` and `belfry undrain`: takes a node out of service, and back in. */
import { type Command, InvalidArgumentError } from "commander";
import { type Result, refused } from "../base/result.js";
import type { Fleet, Placement } from "./fleet.js";
import type { Invocation } from "./invocation.js";
import { askLeader, pause } from "./leader.js";
import { findNode, secondsAsMs } from "./names.js";
import { exitCodes, type Outcome, report } from "./outcome.js";
import { fieldAt } from "./report.js";
import { counted } from "./text.js";

interface DrainOptions {
  /** In milliseconds; false for not at all. */
  readonly wait: number | false;
}

const waitMsDefault = 60_000;
const waitSecondsMax = 3_600;
const lookEveryMs = 500;
const nodeArgument = "its id as belfry nodes prints it";

export function declareDrain(program: Command, invocation: Invocation): void {
  program
    .command("drain")
    .summary("take all shards from a node, and give it none")
    .description(
      "Puts a node into drain: the others take over its shards one by one, and it gets no more, " +
        "also after it has started again, until undrain. Waits until it holds nothing. Its " +
        "clients stay connected until the node is stopped.",
    )
    .argument("<node>", nodeArgument, nodeName)
    .option("--wait <seconds>", "for so long (60)", secondsAsMs(waitSecondsMax), waitMsDefault)
    .option("--no-wait", "only begin it")
    .addHelpText("after", "\nExample:\n  belfry drain dc1-a --wait 120")
    .action(async (node: string, options: DrainOptions) => {
      await invocation.withFleet((fleet) => drain(fleet, invocation, node, options.wait));
    });
  program
    .command("undrain")
    .summary("let a node have shards again")
    .description("Takes a node out of drain: it gets its share again, one move at a time.")
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
  waitMs: number | false,
): Promise<Outcome> {
  const found = nodeIdOf(name, await fleet.placement());
  if (!found.ok) return found;
  const node = found.value;
  const { clock } = invocation.world;
  const startMs = clock.monotonicMs();
  const answer = await askLeader(fleet, invocation.patience, { kind: "drain", node });
  if (!answer.ok) return answer;
  const changed = fieldAt(answer.value, "changed") === true;
  let shown: number | undefined;
  // The table is read from a replica, which may be behind the order at first.
  let wasSeen = false;
  for (;;) {
    const placement = await fleet.placement();
    const held = heldBy(placement, node);
    const tookMs = clock.monotonicMs() - startMs;
    const document = { node, changed, held, tookMs: Math.round(tookMs) };
    if (held === 0 || waitMs === false) return report(document, () => describe(document));
    const isDraining = placement.draining.includes(node);
    if (wasSeen && !isDraining) {
      return refused("CONFLICT", `${node} was taken out of drain meanwhile`);
    }
    wasSeen ||= isDraining;
    if (held !== shown) invocation.tellProgress(`${node} holds ${counted(held, "shard")}`);
    shown = held;
    if (tookMs >= waitMs) return report(document, () => describe(document), exitCodes.refused);
    await pause(clock, lookEveryMs);
  }
}

async function undrain(fleet: Fleet, invocation: Invocation, name: string): Promise<Outcome> {
  const found = nodeIdOf(name, await fleet.placement());
  if (!found.ok) return found;
  const node = found.value;
  const answer = await askLeader(fleet, invocation.patience, { kind: "undrain", node });
  if (!answer.ok) return answer;
  const changed = fieldAt(answer.value, "changed") === true;
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

function describe(document: {
  readonly node: string;
  readonly changed: boolean;
  readonly held: number;
  readonly tookMs: number;
}): string {
  const { node, changed, held, tookMs } = document;
  const state = `${node} ${changed ? "is" : "was already"} in drain`;
  if (held > 0) return `${state} and still holds ${counted(held, "shard")}`;
  return `${state} and holds nothing (${(tookMs / 1_000).toFixed(1)} s)`;
}
