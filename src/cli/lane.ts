/** `belfry lane`: durable lanes, their settings and their dead letters. */
import { type Command, InvalidArgumentError } from "commander";
import { refused } from "../base/result.js";
import { laneWeightMax, laneWorkersMax } from "../protocol/lane-record.js";
import { isLaneName } from "../protocol/lanes.js";
import { deadLettersMax, type LaneRequest, replaysMax } from "../protocol/operator-desk.js";
import type { Fleet } from "./fleet.js";
import type { Invocation } from "./invocation.js";
import { askLeader } from "./leader.js";
import { isAppName, wholeNumber } from "./names.js";
import { type Outcome, report } from "./outcome.js";
import { listAt, numberAt, textAt } from "./report.js";
import { counted, headings, type Paint, type Row, table } from "./text.js";

const laneArgument = "its name as belfry lane ls prints it";
const number = wholeNumber(1, Number.MAX_SAFE_INTEGER);

export function declareLane(program: Command, invocation: Invocation): void {
  const lane = program.command("lane").summary("show and change durable lanes");
  declareShowing(lane, invocation);
  lane
    .command("create")
    .summary("give an app a lane of its own")
    .description("Makes a durable lane that one app alone may publish on.")
    .argument("<name>", "[a-z0-9-], at most 32", laneName)
    .requiredOption("--app <app>", "the registered app that it is for", appName)
    .addHelpText("after", "\nExample:\n  belfry lane create checkout --app shop")
    .action(async (name: string, { app }: { app: string }) => {
      await invocation.withFleet((fleet) =>
        ask(fleet, invocation, { kind: "lane-create", lane: name, app }, () => `${name} is there`),
      );
    });
  lane
    .command("set")
    .summary("change how many pushes of a lane are in flight, and its share")
    .description(
      "Changes a lane at run time; nodes follow within a second. Workers are the pushes that it " +
        "has in flight at most, in the whole IDC, at least one for each group of shards; with 0 " +
        "the lane rests. Weight is its share where several lanes have something waiting.",
    )
    .argument("<name>", laneArgument, laneName)
    .option("--workers <n>", `0 to ${laneWorkersMax}`, wholeNumber(0, laneWorkersMax))
    .option("--weight <n>", `1 to ${laneWeightMax}`, wholeNumber(1, laneWeightMax))
    .addHelpText("after", "\nExample:\n  belfry lane set low --workers 64")
    .action(async (name: string, options: { workers?: number; weight?: number }) => {
      await invocation.withFleet((fleet) => set(fleet, invocation, name, options));
    });
  lane
    .command("drop")
    .summary("take an app's lane away")
    .description("Removes a lane of an app; where messages wait in it, only with --discard.")
    .argument("<name>", laneArgument, laneName)
    .option("--discard", "with what waits in it", false)
    .addHelpText("after", "\nExample:\n  belfry lane drop checkout")
    .action(async (name: string, { discard }: { discard: boolean }) => {
      await invocation.withFleet((fleet) =>
        ask(fleet, invocation, { kind: "lane-drop", lane: name, discard }, () => `${name} is gone`),
      );
    });
  lane
    .command("replay")
    .summary("publish dead letters again")
    .description(
      "Publishes dead letters again at the end of their lane, and deletes them. One that fails " +
        "again is a new dead letter.",
    )
    .argument("<name>", laneArgument, laneName)
    .argument("[numbers...]", "of the letters, as belfry lane dead prints them")
    .option("--all", "all that are there now", false)
    .addHelpText("after", "\nExample:\n  belfry lane replay normal 17 18")
    .action(async (name: string, numbers: string[], { all }: { all: boolean }) => {
      await invocation.withFleet((fleet) => replay(fleet, invocation, name, numbers, all));
    });
}

function declareShowing(lane: Command, invocation: Invocation): void {
  lane
    .command("ls")
    .summary("list the lanes with what waits in them")
    .description("Prints every lane: whose it is, its settings, what waits, its dead letters.")
    .addHelpText("after", "\nExample:\n  belfry lane ls")
    .action(async () => {
      await invocation.withFleet((fleet) =>
        ask(fleet, invocation, { kind: "lanes" }, (value, paint) =>
          table([laneTitles, ...listAt(value, "lanes").map(laneRow)], paint),
        ),
      );
    });
  lane
    .command("show")
    .summary("show one lane")
    .description("Prints one lane: whose it is, its settings, what waits, its dead letters.")
    .argument("<name>", laneArgument, laneName)
    .addHelpText("after", "\nExample:\n  belfry lane show high")
    .action(async (name: string) => {
      await invocation.withFleet((fleet) => show(fleet, invocation, name));
    });
  lane
    .command("dead")
    .summary("list what a lane could not deliver, and why")
    .description("Prints the oldest dead letters of a lane, with the code that refused them.")
    .argument("<name>", laneArgument, laneName)
    .option("--limit <n>", `at most ${deadLettersMax} (50)`, wholeNumber(1, deadLettersMax), 50)
    .addHelpText("after", "\nExample:\n  belfry lane dead normal --limit 10")
    .action(async (name: string, { limit }: { limit: number }) => {
      await invocation.withFleet((fleet) =>
        ask(fleet, invocation, { kind: "lane-dead", lane: name, limit }, describeDead),
      );
    });
}

async function ask(
  fleet: Fleet,
  { patience }: Invocation,
  request: LaneRequest,
  describe: (value: unknown, paint: Paint) => string,
): Promise<Outcome> {
  const answer = await askLeader(fleet, patience, request);
  return answer.ok ? report(answer.value, (paint) => describe(answer.value, paint)) : answer;
}

async function show(fleet: Fleet, { patience }: Invocation, name: string): Promise<Outcome> {
  const answer = await askLeader(fleet, patience, { kind: "lanes" });
  if (!answer.ok) return answer;
  const found = listAt(answer.value, "lanes").find((each) => textAt(each, "lane") === name);
  if (found === undefined) return refused("NOT_FOUND", `there is no lane ${name}`);
  return report(found, (paint) => table([laneTitles, laneRow(found)], paint));
}

async function set(
  fleet: Fleet,
  invocation: Invocation,
  lane: string,
  options: { readonly workers?: number; readonly weight?: number },
): Promise<Outcome> {
  if (options.workers === undefined && options.weight === undefined) {
    return refused("USAGE", "say what to change: --workers or --weight");
  }
  return ask(fleet, invocation, { kind: "lane-set", lane, ...options }, (value) => {
    const [workers, weight] = [numberAt(value, "workers"), numberAt(value, "weight")];
    return `${lane} has ${workers} workers and weight ${weight}`;
  });
}

async function replay(
  fleet: Fleet,
  invocation: Invocation,
  lane: string,
  given: readonly string[],
  all: boolean,
): Promise<Outcome> {
  if (all === given.length > 0) return refused("USAGE", "name the letters, or say --all");
  const wanted = all ? await numbersOf(fleet, invocation, lane) : given.map(number);
  if (!Array.isArray(wanted)) return wanted as Outcome;
  const replayed: unknown[] = [];
  const missing: unknown[] = [];
  for (let at = 0; at < wanted.length; at += replaysMax) {
    const numbers = wanted.slice(at, at + replaysMax);
    const request = { kind: "lane-replay", lane, numbers } as const;
    const answer = await askLeader(fleet, invocation.patience, request);
    if (!answer.ok) return answer;
    replayed.push(...listAt(answer.value, "replayed"));
    missing.push(...listAt(answer.value, "missing"));
  }
  if (missing.length > 0 && replayed.length === 0) {
    return refused("NOT_FOUND", `${lane} has no such dead letters: ${missing.join(", ")}`);
  }
  return report({ lane, replayed, missing }, () => {
    const rest = missing.length === 0 ? "" : `; not there: ${missing.join(", ")}`;
    return `${counted(replayed.length, "letter")} published again${rest}`;
  });
}

/** Those that are there now, up to what one answer holds: those that die again are not among them. */
async function numbersOf(
  fleet: Fleet,
  { patience }: Invocation,
  lane: string,
): Promise<number[] | Outcome> {
  const request = { kind: "lane-dead", lane, limit: deadLettersMax } as const;
  const answer = await askLeader(fleet, patience, request);
  if (!answer.ok) return answer;
  return listAt(answer.value, "letters").flatMap((letter) => numberAt(letter, "number") ?? []);
}

const laneTitles = headings(
  ...["LANE", "APP", "WEIGHT", "WORKERS", "MESSAGES", "BYTES", "OLDEST", "DEAD LETTERS"],
);

function laneRow(lane: unknown): Row {
  const oldestAtMs = numberAt(lane, "oldestAtMs");
  return [
    textAt(lane, "lane"),
    textAt(lane, "app") ?? "all",
    numberAt(lane, "weight"),
    numberAt(lane, "workers"),
    numberAt(lane, "messages"),
    numberAt(lane, "bytes"),
    oldestAtMs === null ? null : new Date(oldestAtMs).toISOString(),
    numberAt(lane, "deadLetters"),
  ];
}

function describeDead(value: unknown, paint: Paint): string {
  const letters = listAt(value, "letters");
  if (letters.length === 0) return "no dead letters";
  const rows = letters.map((letter): Row => {
    const diedAtMs = numberAt(letter, "diedAtMs") ?? 0;
    return [
      numberAt(letter, "number"),
      textAt(letter, "app"),
      textAt(letter, "uid"),
      textAt(letter, "code"),
      numberAt(letter, "attempts"),
      new Date(diedAtMs).toISOString(),
      textAt(letter, "message"),
    ];
  });
  const titles = headings("NUMBER", "APP", "USER", "CODE", "ATTEMPTS", "DIED", "WHY");
  return `${table([titles, ...rows], paint)}\n\n${letters.length} of ${numberAt(value, "total")}`;
}

function laneName(text: string): string {
  if (isLaneName(text)) return text;
  throw new InvalidArgumentError("A lane is [a-z0-9-], at most 32, and not dead.");
}

function appName(text: string): string {
  if (isAppName(text)) return text;
  throw new InvalidArgumentError("An app is [A-Za-z0-9_-], at most 64.");
}
