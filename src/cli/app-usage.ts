/** `belfry app usage`: what an app uses, as its nodes measure it, against what it may. */

import { isMap } from "../protocol/codec.js";
import { readApp } from "./app-registry.js";
import { describeSettings } from "./app-settings.js";
import { type Fleet, type FleetNode, fullName } from "./fleet.js";
import { hear } from "./fleet-status.js";
import { exitCodes, type Outcome, report } from "./outcome.js";
import { fieldAt, numberAt } from "./report.js";
import { headings, type Paint, type Row, table } from "./text.js";

export async function appUsage(fleet: Fleet, app: string): Promise<Outcome> {
  const found = await readApp(await fleet.apps(), app);
  if (!found.ok) return found;
  const { nodes } = await fleet.placement();
  const views = await Promise.all(nodes.map((node) => usageOf(fleet, node, app)));
  const { limits } = describeSettings(found.value.record);
  const document = { app, usage: sumOf(views), limits, nodes: views };
  const isAnybodyUp = views.some(({ state }) => state === "up");
  return report(
    document,
    (paint) => describe(document, paint),
    isAnybodyUp ? exitCodes.done : exitCodes.silent,
  );
}

async function usageOf(fleet: Fleet, { nodeId, incarnation }: FleetNode, app: string) {
  const heard = await hear(() => fleet.ask({ nodeId, incarnation }, { kind: "usage", app }));
  const own = heard.isUp ? heard.value : undefined;
  const pushes = (field: string) => numberAt(own, "pushes", field);
  return {
    nodeId,
    incarnation,
    state: heard.isUp ? "up" : "silent",
    ...(heard.isUp ? {} : { reason: heard.reason }),
    connections: numberAt(own, "connections", "connections"),
    refusedConnections: numberAt(own, "connections", "refused"),
    acceptedPerSecond: pushes("acceptedPerSecond"),
    refusedPerSecond: pushes("refusedPerSecond"),
    accepted: pushes("accepted"),
    refused: countsAt(own, "pushes", "refused"),
    inboxBytes: numberAt(own, "inbox", "bytes"),
    inboxMessages: numberAt(own, "inbox", "messages"),
    users: numberAt(own, "inbox", "users"),
  };
}

type NodeUsage = Awaited<ReturnType<typeof usageOf>>;

function countsAt(own: unknown, ...path: readonly string[]): Record<string, number> {
  const counts = fieldAt(own, ...path);
  if (!isMap(counts)) return {};
  const numbers = Object.entries(counts).filter(([, count]) => typeof count === "number");
  return Object.fromEntries(numbers) as Record<string, number>;
}

const summed = [
  "connections",
  "refusedConnections",
  "acceptedPerSecond",
  "refusedPerSecond",
  "accepted",
  "inboxBytes",
  "inboxMessages",
  "users",
] as const;

function sumOf(views: readonly NodeUsage[]) {
  const sum = (field: (typeof summed)[number]) =>
    views.reduce((total, view) => total + (view[field] ?? 0), 0);
  const refused: Record<string, number> = {};
  for (const view of views) {
    for (const [code, count] of Object.entries(view.refused)) {
      refused[code] = (refused[code] ?? 0) + count;
    }
  }
  const numbers = Object.fromEntries(summed.map((field) => [field, sum(field)]));
  return { ...(numbers as Record<(typeof summed)[number], number>), refused };
}

function describe(
  document: {
    readonly app: string;
    readonly usage: ReturnType<typeof sumOf>;
    readonly limits: ReturnType<typeof describeSettings>["limits"];
    readonly nodes: readonly NodeUsage[];
  },
  paint: Paint,
): string {
  const { app, usage, limits, nodes } = document;
  const rows: Row[] = [
    [{ text: app, style: "bold" }, ...headings("USED", "LIMIT")],
    ["connections", usage.connections, limits.connections],
    ["pushes/s accepted", usage.acceptedPerSecond, limits.pushesPerSecond],
    ["pushes/s refused", usage.refusedPerSecond, null],
    ["inbox bytes", usage.inboxBytes, limits.inboxBytes],
    ["inbox messages", usage.inboxMessages, null],
    ["users with messages", usage.users, null],
    ...Object.entries(usage.refused).map(([code, count]): Row => [`refused ${code}`, count, null]),
  ];
  const titles = headings("NODE", "STATE", "CONNECTIONS", "PUSHES/S", "REFUSED/S", "INBOX BYTES");
  const lines = nodes.map(
    (node): Row => [
      fullName(node),
      node.state === "up" ? { text: "up", style: "green" } : { text: "silent", style: "red" },
      node.connections,
      node.acceptedPerSecond,
      node.refusedPerSecond,
      node.inboxBytes,
    ],
  );
  return `${table(rows, paint)}\n\n${table([titles, ...lines], paint)}`;
}
