/** `belfry placement`: what the leader knows and does, by its own word. */
import type { Command } from "commander";
import type { Fleet } from "./fleet.js";
import type { Invocation } from "./invocation.js";
import { askLeader } from "./leader.js";
import { type Outcome, report } from "./outcome.js";
import { fieldAt, listAt, numberAt, textAt } from "./report.js";
import { duration, headings, type Paint, type Row, table } from "./text.js";

export function declarePlacement(program: Command, invocation: Invocation): void {
  program
    .command("placement")
    .summary("show who leads, what moves, and the last decisions")
    .description(
      "Prints who leads the placement and since when, the table's epoch and nonce, units on the " +
        "move, nodes in drain, what the nodes carry, a committed plan, and the last decisions " +
        "with their reasons.",
    )
    .addHelpText("after", "\nExample:\n  belfry placement")
    .action(async () => {
      await invocation.withFleet((fleet) => placement(fleet, invocation));
    });
}

async function placement(fleet: Fleet, invocation: Invocation): Promise<Outcome> {
  const answer = await askLeader(fleet, invocation.patience, { kind: "placement" });
  if (!answer.ok) return answer;
  return report(answer.value, (paint) => describe(answer.value, paint));
}

function describe(value: unknown, paint: Paint): string {
  const parts = [table(headOf(value), paint), table(nodesOf(value), paint)];
  const moves = listAt(value, "openMoves").map((move): Row => {
    const [from, to] = [nameAt(move, "from"), nameAt(move, "to")];
    return [numberAt(move, "unit"), from, to, numberAt(move, "epoch"), seconds(move, "forMs")];
  });
  if (moves.length > 0) {
    parts.push(table([headings("MOVING UNIT", "FROM", "TO", "EPOCH", "FOR"), ...moves], paint));
  }
  const decisions = listAt(value, "decisions").map((decision): Row => {
    return [textAt(decision, "at"), textAt(decision, "what")];
  });
  if (decisions.length > 0) parts.push(table(decisions, paint));
  return parts.join("\n\n");
}

function headOf(value: unknown): Row[] {
  const since = duration(numberAt(value, "leadingForMs") ?? 0);
  const leader = `${nameAt(value, "leader")}, epoch ${numberAt(value, "epoch")}, for ${since}`;
  const nonce = textAt(value, "table", "nonce");
  const written = `revision ${numberAt(value, "table", "revision")}, nonce ${nonce}`;
  const load = `${numberAt(value, "load", "perSecond")} messages/s`;
  const floor = `moves for load from ${numberAt(value, "load", "floorPerSecond")} on`;
  const isMeasured = fieldAt(value, "load", "isMeasured") === true;
  const rows: Row[] = [
    ["leader", { text: leader, style: "bold" }],
    ["table", `${written}, epoch ${numberAt(value, "table", "epoch")}`],
    ["load", `${load}; ${floor}${isMeasured ? "" : "; not all nodes have reported"}`],
    ["in drain", listAt(value, "draining").join(", ") || "none"],
  ];
  const avoided = listAt(value, "avoided").map((node) => textAt(node, "nodeId"));
  if (avoided.length > 0) {
    rows.push(["avoided", { text: `${avoided.join(", ")} (did not start a unit)`, style: "red" }]);
  }
  const plan = textAt(value, "rebalance", "plan");
  if (plan !== null) rows.push(["plan", `${plan}: ${progressOf(value)}`]);
  return rows;
}

function progressOf(value: unknown): string {
  const at = (name: string) => numberAt(value, "rebalance", name) ?? 0;
  return `${at("done")} of ${at("moves")} moves done, ${at("dropped")} dropped`;
}

function nodesOf(value: unknown): Row[] {
  const rows = listAt(value, "nodes").map((node): Row => {
    const figures = [numberAt(node, "units"), numberAt(node, "perSecond")];
    return [
      textAt(node, "nodeId"),
      ...figures,
      numberAt(node, "sessions"),
      numberAt(node, "weight"),
    ];
  });
  return [headings("NODE", "UNITS", "MESSAGES/S", "SESSIONS", "WEIGHT"), ...rows];
}

function nameAt(value: unknown, field: string): string | null {
  const nodeId = textAt(value, field, "nodeId");
  return nodeId === null ? null : `${nodeId}.${textAt(value, field, "incarnation")}`;
}

function seconds(value: unknown, field: string): string {
  return `${((numberAt(value, field) ?? 0) / 1_000).toFixed(1)}s`;
}
