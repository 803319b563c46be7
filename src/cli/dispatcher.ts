/** `belfry dispatcher`: what clients are told of where to connect. */
import { type Command, InvalidArgumentError } from "commander";
import type { DispatcherRequest } from "../protocol/dispatcher-request.js";
import type { Fleet } from "./fleet.js";
import type { Invocation } from "./invocation.js";
import { askLeader } from "./leader.js";
import { wholeNumber } from "./names.js";
import { type Outcome, report } from "./outcome.js";
import { fieldAt, listAt, numberAt, textAt } from "./report.js";
import { headings, type Paint, type Row, table } from "./text.js";

const attemptsMax = 1_000_000;
const weightMax = 1_000;

type Describe = (value: unknown, paint: Paint) => string;

export function declareDispatcher(program: Command, invocation: Invocation): void {
  const dispatcher = program
    .command("dispatcher")
    .summary("show and change where clients are told to connect");
  declareShowing(dispatcher, invocation);
  declareWeight(dispatcher, invocation);
  declareOthers(dispatcher, invocation);
}

function declareShowing(dispatcher: Command, invocation: Invocation): void {
  dispatcher
    .command("ls")
    .summary("list the edges, and what holds for all of them")
    .description("Prints each edge with its addresses, weight and state, and what operators set.")
    .addHelpText("after", "\nExample:\n  belfry dispatcher ls")
    .action(async () => {
      await carryOut(invocation, { kind: "edges" }, describeEdges);
    });
  dispatcher
    .command("told")
    .summary("show what a client is told that asks where to connect")
    .description("Prints the dispatcher's answer, in the order in which addresses are tried.")
    .argument("<key>", "what the client asks with, such as its user")
    .option("--attempt <n>", "so many failures (0)", wholeNumber(0, attemptsMax), 0)
    .addHelpText("after", "\nExample:\n  belfry dispatcher told demo:alice --attempt 4")
    .action(async (key: string, { attempt }: { attempt: number }) => {
      await carryOut(invocation, { kind: "edges-told", key, attempt }, describeTold);
    });
}

function declareWeight(dispatcher: Command, invocation: Invocation): void {
  dispatcher
    .command("weigh")
    .summary("change an edge's share of the clients that ask where to connect")
    .description("An edge of weight 200 gets twice the clients of one of 100; with 0 none.")
    .argument("<node>", "its id as belfry nodes prints it", nodeId)
    .argument("<weight>", `0 to ${weightMax}; 100 is plain`, wholeNumber(0, weightMax))
    .addHelpText("after", "\nExample:\n  belfry dispatcher weigh dc1-a 50")
    .action(async (node: string, weight: number) => {
      const request = { kind: "edge-weigh", node, weight } as const;
      await carryOut(invocation, request, () => `${node} has weight ${weight}`);
    });
}

function declareOthers(dispatcher: Command, invocation: Invocation): void {
  dispatcher
    .command("other")
    .summary("tell of another datacenter that clients may be sent to")
    .description(
      "Its edges are told to clients that have failed here four times; its dispatcher is where " +
        "they are sent by dispatcher away. What was known of it before is replaced.",
    )
    .argument("<idc>", "its name", idcName)
    .option("--dispatcher <url>", "http:// or https://, such as https://dc2.example.com/edges")
    .option("--edge <url...>", "ws:// or wss://; may be given several times", [])
    .addHelpText(
      "after",
      "\nExample:\n  belfry dispatcher other dc2 --edge wss://dc2.example.com/connect",
    )
    .action(async (idc: string, options: { dispatcher?: string; edge: string[] }) => {
      const { dispatcher, edge } = options;
      const place = dispatcher === undefined ? {} : { dispatcher };
      const request = { kind: "edges-other", idc, edges: edge, ...place } as const;
      await carryOut(invocation, request, () => `${idc} is known`);
    });
  dispatcher
    .command("forget")
    .summary("tell clients of another datacenter no more")
    .description("Forgets where another datacenter's edges and dispatcher are.")
    .argument("<idc>", "its name", idcName)
    .addHelpText("after", "\nExample:\n  belfry dispatcher forget dc2")
    .action(async (idc: string) => {
      await carryOut(invocation, { kind: "edges-forget", idc }, () => `${idc} is forgotten`);
    });
  dispatcher
    .command("away")
    .summary("send all clients that ask to another datacenter")
    .description(
      "Every dispatcher here answers with a redirect to that datacenter's. Connected clients stay " +
        "until their edge is drained.",
    )
    .argument("<idc>", "its name, as told by dispatcher other", idcName)
    .addHelpText("after", "\nExample:\n  belfry dispatcher away dc2")
    .action(async (idc: string) => {
      await carryOut(invocation, { kind: "edges-away", idc }, () => `clients are sent to ${idc}`);
    });
  dispatcher
    .command("back")
    .summary("end dispatcher away")
    .description("The dispatchers here answer for themselves again.")
    .addHelpText("after", "\nExample:\n  belfry dispatcher back")
    .action(async () => {
      await carryOut(invocation, { kind: "edges-away" }, () => "clients are at home again");
    });
}

async function carryOut(
  invocation: Invocation,
  request: DispatcherRequest,
  describe: Describe,
): Promise<void> {
  await invocation.withFleet((fleet) => ask(fleet, invocation, request, describe));
}

async function ask(
  fleet: Fleet,
  { patience }: Invocation,
  request: DispatcherRequest,
  describe: Describe,
): Promise<Outcome> {
  const answer = await askLeader(fleet, patience, request);
  return answer.ok ? report(answer.value, (paint) => describe(answer.value, paint)) : answer;
}

function nodeId(text: string): string {
  if (/^[a-z0-9-]{1,64}$/.test(text)) return text;
  throw new InvalidArgumentError("A node is <idc>-<name>.");
}

function idcName(text: string): string {
  if (/^[a-z0-9-]{1,16}$/.test(text)) return text;
  throw new InvalidArgumentError("A datacenter is [a-z0-9-], at most 16.");
}

function describeEdges(value: unknown, paint: Paint): string {
  const rows = listAt(value, "edges").map((edge): Row => {
    const urls = listAt(edge, "urls").map(String).join(" ");
    return [textAt(edge, "nodeId"), stateOf(edge), numberAt(edge, "weight"), urls];
  });
  const awayTo = textAt(value, "awayTo");
  const absent = listAt(value, "absentInDrain").map(String);
  return [
    table([headings("EDGE", "STATE", "WEIGHT", "ADDRESSES"), ...rows], paint),
    "",
    `${numberAt(value, "letInPercent") ?? "?"} of 100 are let in`,
    ...(awayTo === null ? [] : [`clients are sent to ${awayTo}`]),
    ...(absent.length === 0 ? [] : [`in drain and not there: ${absent.join(", ")}`]),
    ...listAt(value, "others").map(describeOther),
  ].join("\n");
}

function stateOf(edge: unknown): Row[number] {
  const perSecond = numberAt(edge, "drainPerSecond");
  if (perSecond !== null) return { text: `in drain, ${perSecond}/s`, style: "yellow" };
  if (fieldAt(edge, "isStopping") === true) return { text: "stopping", style: "yellow" };
  const unwell = textAt(edge, "unwell");
  if (unwell !== null) return { text: `unwell: ${unwell}`, style: "red" };
  return { text: "open", style: "green" };
}

function describeOther(other: unknown): string {
  const urls = listAt(other, "edges").map(String).join(" ");
  return `${textAt(other, "idc")}: ${urls}; dispatcher ${textAt(other, "dispatcher") ?? "unknown"}`;
}

function describeTold(value: unknown, paint: Paint): string {
  const rows = listAt(value, "edges").map(
    (edge): Row => [textAt(edge, "url"), textAt(edge, "idc")],
  );
  if (rows.length === 0) return "no edge takes clients";
  return table([headings("ADDRESS", "IDC"), ...rows], paint);
}
