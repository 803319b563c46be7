/** `belfry app reach`: what became of an app's messages, from the delivery journal. */
import type { Command } from "commander";
import { isMap } from "../protocol/codec.js";
import { journalWithinMsMax } from "../protocol/operator-desk.js";
import { encodeToken } from "../protocol/tokens.js";
import { readApp } from "./app-registry.js";
import type { Fleet } from "./fleet.js";
import type { Invocation } from "./invocation.js";
import { askJournal } from "./journal-question.js";
import { spanAsMs } from "./names.js";
import { type Outcome, report } from "./outcome.js";
import { fieldAt, numberAt } from "./report.js";
import { duration, headings, type Paint, table } from "./text.js";

const withinMsDefault = 3_600_000;

/** Below the command `app`, which is declared before. */
export function declareAppReach(program: Command, invocation: Invocation): void {
  program.commands
    .find((command) => command.name() === "app")
    ?.command("reach")
    .summary("how many of an app's messages were acked")
    .description(
      "Prints what became of the messages that were accepted lately, by the delivery journal.",
    )
    .argument("<app>", "the app's name")
    .option("--within <span>", "how far back: 15m, 1h, all (1h)", spanAsMs(journalWithinMsMax))
    .addHelpText("after", "\nExample:\n  belfry app reach demo --within 15m")
    .action(async (app: string, { within }: { within?: number }) => {
      const { timeoutMs } = invocation.patience;
      const withinMs = within ?? withinMsDefault;
      await invocation.withFleet((fleet) => reach(fleet, app, withinMs, timeoutMs));
    });
}

async function reach(
  fleet: Fleet,
  app: string,
  withinMs: number,
  timeoutMs: number,
): Promise<Outcome> {
  const registered = await readApp(await fleet.apps(), app);
  if (!registered.ok) return registered;
  const question = { kind: "reach", app: encodeToken(app), withinMs } as const;
  const answer = await askJournal(fleet, question, timeoutMs);
  if (!answer.ok) return answer;
  const document = { app, withinMs, ...withRates(answer.value) };
  return report(document, (paint) => describe(document, paint));
}

function withRates(counts: unknown): Record<string, unknown> {
  const accepted = numberAt(counts, "accepted") ?? 0;
  const letGo = Object.entries(mapAt(counts, "letGo"));
  const gone = letGo.reduce((sum, [, count]) => sum + Number(count), 0);
  const share = (count: number) => (accepted === 0 ? null : count / accepted);
  const shares = Object.fromEntries(letGo.map(([reason, count]) => [reason, share(Number(count))]));
  const open = accepted - gone;
  return { ...(isMap(counts) ? counts : {}), open, shares: { ...shares, open: share(open) } };
}

function mapAt(document: unknown, field: string): Record<string, unknown> {
  const value = fieldAt(document, field);
  return isMap(value) ? value : {};
}

function describe(document: Record<string, unknown>, paint: Paint): string {
  const accepted = numberAt(document, "accepted") ?? 0;
  const span = duration(numberAt(document, "withinMs") ?? 0);
  const shares = mapAt(document, "shares");
  const row = (name: string, count: number | null) => [name, count, percent(shares[name])];
  const rows = [
    ["accepted", accepted, null],
    ...Object.entries(mapAt(document, "letGo")).map(([name, count]) => row(name, Number(count))),
    row("open", numberAt(document, "open")),
  ];
  const passed = numberAt(document, "passed") ?? 0;
  const lines = [
    `messages of ${String(document["app"])} that were accepted in the last ${span}`,
    table([headings("", "MESSAGES", "SHARE"), ...rows], paint),
  ];
  if (passed > 0) {
    const on = numberAt(document, "passedOn");
    lines.push(`at most once: ${passed}, of which ${on} found a device connected`);
  }
  return [...lines, ...notesOn(document)].join("\n");
}

function percent(share: unknown): string | null {
  return typeof share === "number" ? `${(share * 100).toFixed(1)} %` : null;
}

function notesOn(document: Record<string, unknown>): string[] {
  const read = numberAt(document, "sample", "blocksRead");
  const blocks = numberAt(document, "sample", "blocks");
  const lost = numberAt(document, "lostSteps") ?? 0;
  const notes: string[] = [];
  if (fieldAt(document, "sample", "isCut") === true) {
    notes.push("a sample, cut short: the oldest of one block of users; ask for a shorter span");
  } else if (read !== blocks) {
    notes.push(`a sample: ${read} of ${blocks} blocks of users were read within the bounds`);
  }
  if (lost > 0) notes.push(`${lost} steps were lost to the journal`);
  return notes;
}
