/** `belfry edges heartbeat`: the bounds of what all edges of a datacenter grant. */
import type { Command } from "commander";
import { heartbeatMsRange } from "../protocol/directive.js";
import type { Fleet } from "./fleet.js";
import type { Invocation } from "./invocation.js";
import { askLeader } from "./leader.js";
import { wholeNumber } from "./names.js";
import { type Outcome, report } from "./outcome.js";

interface Bounds {
  readonly min?: number;
  readonly max?: number;
}

export function declareEdgesHeartbeat(edges: Command, invocation: Invocation): void {
  const milliseconds = wholeNumber(heartbeatMsRange.least, heartbeatMsRange.most);
  edges
    .command("heartbeat")
    .summary("bound the intervals of heartbeats that edges grant")
    .description(
      "Bounds what every edge of this datacenter grants, in place of the nodes' settings; without " +
        "an option those hold again. Who is connected is told with its next heartbeat. It lasts " +
        "until it is set again.",
    )
    .option("--min <ms>", "no interval is shorter", milliseconds)
    .option("--max <ms>", "no interval is longer", milliseconds)
    .addHelpText("after", "\nExample:\n  belfry edges heartbeat --min 60000")
    .action(async (bounds: Bounds) => {
      await invocation.withFleet((fleet) => bound(fleet, invocation, bounds));
    });
}

async function bound(fleet: Fleet, invocation: Invocation, { min, max }: Bounds): Promise<Outcome> {
  const bounds = {
    ...(min === undefined ? {} : { minMs: min }),
    ...(max === undefined ? {} : { maxMs: max }),
  };
  const request = { kind: "edges-heartbeat", ...bounds } as const;
  const answer = await askLeader(fleet, invocation.patience, request);
  if (!answer.ok) return answer;
  return report({ minMs: min ?? null, maxMs: max ?? null }, () => {
    if (min === undefined && max === undefined) return "the nodes' own settings hold";
    const least = min === undefined ? [] : [`at least ${min} ms`];
    const most = max === undefined ? [] : [`at most ${max} ms`];
    return `heartbeats are ${[...least, ...most].join(" and ")} apart`;
  });
}
