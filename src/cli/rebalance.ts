/** `belfry rebalance plan` and `commit`: even out the load further than the leader does by itself. */
import { type Command, InvalidArgumentError } from "commander";
import type { Fleet } from "./fleet.js";
import type { Invocation } from "./invocation.js";
import { askLeader } from "./leader.js";
import { type Outcome, report } from "./outcome.js";
import { listAt, numberAt, textAt } from "./report.js";
import { counted, headings, type Paint, table } from "./text.js";

export function declareRebalance(program: Command, invocation: Invocation): void {
  const rebalance = program
    .command("rebalance")
    .summary("even out the measured load")
    .description("Plans moves that even out the measured load, and carries out such a plan.")
    .addHelpText("after", "\nExample:\n  belfry rebalance plan");
  rebalance
    .command("plan")
    .description(
      "Prints the moves that would even out the load, with what each node weighs before and " +
        "after, and an id to commit them by. Changes nothing.",
    )
    .addHelpText("after", "\nExample:\n  belfry rebalance plan --json")
    .action(async () => {
      await invocation.withFleet((fleet) => plan(fleet, invocation));
    });
  rebalance
    .command("commit")
    .description(
      "Carries out a plan, one move at a time. Refused as PLAN_OUTDATED when the placement has " +
        "changed since it was made. belfry placement shows how far it is.",
    )
    .argument("<plan>", "the id that plan printed", planId)
    .addHelpText("after", "\nExample:\n  belfry rebalance commit k3f9x2aa71bq-1")
    .action(async (id: string) => {
      await invocation.withFleet((fleet) => commit(fleet, invocation, id));
    });
}

function planId(text: string): string {
  if (/^[A-Za-z0-9_.-]{1,64}$/.test(text)) return text;
  throw new InvalidArgumentError("It is an id that belfry rebalance plan printed.");
}

async function plan(fleet: Fleet, invocation: Invocation): Promise<Outcome> {
  const answer = await askLeader(fleet, invocation.patience, { kind: "rebalance-plan" });
  if (!answer.ok) return answer;
  return report(answer.value, (paint) => describe(answer.value, paint));
}

async function commit(fleet: Fleet, invocation: Invocation, id: string): Promise<Outcome> {
  const request = { kind: "rebalance-commit", plan: id } as const;
  const answer = await askLeader(fleet, invocation.patience, request);
  if (!answer.ok) return answer;
  const moves = listAt(answer.value, "moves").length;
  return report(answer.value, () => `plan ${id} is carried out: ${counted(moves, "move")}`);
}

function describe(value: unknown, paint: Paint): string {
  const id = textAt(value, "plan");
  const after = new Map(listAt(value, "after").map((node) => [textAt(node, "nodeId"), node]));
  const nodes = listAt(value, "before").map((node) => {
    const later = after.get(textAt(node, "nodeId"));
    return [
      textAt(node, "nodeId"),
      numberAt(node, "units"),
      shown(numberAt(node, "weight")),
      numberAt(later, "units"),
      shown(numberAt(later, "weight")),
    ];
  });
  const weights = table(
    [headings("NODE", "UNITS", "WEIGHT", "UNITS AFTER", "AFTER"), ...nodes],
    paint,
  );
  if (id === null) return `${weights}\n\nnothing to do: no move would make this more even`;
  const moves = listAt(value, "moves").map((move) => [
    numberAt(move, "unit"),
    textAt(move, "from", "nodeId"),
    textAt(move, "to", "nodeId"),
    textAt(move, "reason"),
  ]);
  const titles = headings("UNIT", "FROM", "TO", "REASON");
  return `${table([titles, ...moves], paint)}\n\n${weights}\n\nbelfry rebalance commit ${id}`;
}

function shown(weight: number | null): string | null {
  return weight === null ? null : weight.toFixed(1);
}
