/** `belfry message`: one message's path, from the delivery journal. */
import type { Command } from "commander";
import { refused } from "../base/result.js";
import { decodeMsgId } from "../protocol/msg-id.js";
import { journalWithinMsMax } from "../protocol/operator-desk.js";
import type { Fleet } from "./fleet.js";
import type { Invocation } from "./invocation.js";
import { askJournal } from "./journal-question.js";
import { spanAsMs } from "./names.js";
import { type Outcome, report } from "./outcome.js";
import { fieldAt, listAt, numberAt, textAt } from "./report.js";
import { headings, type Paint, table } from "./text.js";

const withinMsDefault = 600_000;

export function declareMessage(program: Command, invocation: Invocation): void {
  program
    .command("message")
    .summary("show one message's path")
    .description(
      "Prints what happened to a message, step by step, from the delivery journal (72 hours).",
    )
    .argument("<id>", "its MsgID, as a push was answered")
    .option(
      "--within <span>",
      "how long after it was accepted to look: 90s, 10m, 6h, all (10m)",
      spanAsMs(journalWithinMsMax),
    )
    .addHelpText("after", "\nExample:\n  belfry message 0DGZRG3G80100001 --within 6h")
    .action(async (id: string, { within }: { within?: number }) => {
      if (decodeMsgId(id) === undefined) {
        invocation.print(refused("USAGE", `${id} is no MsgID: those are 16 characters`));
        return;
      }
      const { timeoutMs } = invocation.patience;
      const withinMs = within ?? withinMsDefault;
      await invocation.withFleet((fleet) => message(fleet, id, withinMs, timeoutMs));
    });
}

async function message(
  fleet: Fleet,
  id: string,
  withinMs: number,
  timeoutMs: number,
): Promise<Outcome> {
  const answer = await askJournal(fleet, { kind: "message", id, withinMs }, timeoutMs);
  if (!answer.ok) return answer;
  return report(answer.value, (paint) => describe(answer.value, paint));
}

function describe(path: unknown, paint: Paint): string {
  const head = table(
    [
      ["message", { text: textAt(path, "id") ?? "", style: "bold" }],
      ["user", `${textAt(path, "uid")} of ${textAt(path, "app")}`],
      ["shard", numberAt(path, "shard")],
      ["seq", numberAt(path, "seq") === 0 ? "none: at most once" : numberAt(path, "seq")],
    ],
    paint,
  );
  const rows = listAt(path, "steps").map((step) => [
    timeOf(numberAt(step, "atMs")),
    `+${numberAt(step, "sinceMs")} ms`,
    textAt(step, "step"),
    textAt(step, "reason") ?? textAt(step, "device"),
    placeOf(step),
    textAt(step, "channel"),
    textAt(step, "node"),
    numberAt(step, "epoch"),
  ]);
  const titles = headings("TIME", "SINCE", "STEP", "DEVICE", "EDGE", "CHANNEL", "NODE", "EPOCH");
  return [head, "", table([titles, ...rows], paint), ...notesOn(path)].join("\n");
}

function timeOf(ms: number | null): string {
  return ms === null ? "-" : new Date(ms).toISOString();
}

function placeOf(step: unknown): string | null {
  const edge = textAt(step, "edge");
  return edge === null ? null : `${edge}/${numberAt(step, "connection")}`;
}

function notesOn(path: unknown): string[] {
  const notes = listAt(path, "gaps").map(
    (gap) =>
      `gap: ${textAt(gap, "node")} lost ${numberAt(gap, "count")} steps of these users before ${timeOf(numberAt(gap, "atMs"))}`,
  );
  if (fieldAt(path, "read", "isCut") === true) notes.push("cut short: a bound of the reading");
  if (fieldAt(path, "isAll") === false) notes.push("only the first steps are shown");
  return notes.length === 0 ? [] : ["", ...notes];
}
