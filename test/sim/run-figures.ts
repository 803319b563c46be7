/** What happened in a run, counted. */
import type { AskChecks } from "./ask-checks.js";
import type { EventChecks } from "./event-checks.js";
import type { History } from "./history.js";
import type { LeaseChecks } from "./lease-checks.js";
import type { ModelPublisher } from "./model-publisher.js";
import type { ModelService } from "./model-service.js";
import type { Battlefield } from "./nemesis.js";
import type { PlacementChecks } from "./placement-checks.js";
import type { PushLedger } from "./push-ledger.js";
import type { SimEvents } from "./sim-events.js";
import type { SimNode } from "./sim-node.js";

export interface CountedRun {
  readonly nodes: readonly SimNode[];
  readonly publishers: readonly ModelPublisher[];
  readonly service: ModelService | undefined;
  readonly history: History;
  readonly ledger: PushLedger;
  readonly events: SimEvents;
  readonly eventChecks: EventChecks;
  readonly placement: PlacementChecks;
  readonly leases: LeaseChecks;
  readonly asks: AskChecks;
  readonly field: Battlefield;
}

export function figuresOf(run: CountedRun): Record<string, number> {
  const sum = (of: (publisher: ModelPublisher) => number) =>
    run.publishers.reduce((total, publisher) => total + of(publisher), 0);
  return {
    requests: sum(({ counts }) => counts.requests),
    repeats: sum(({ counts }) => counts.repeats),
    givenUp: sum(({ counts }) => counts.givenUp),
    plain: sum(({ counts }) => counts.plain),
    accepted: sum(({ accepted }) => accepted.length),
    ...run.history.counts,
    ...run.service?.counts,
    ...run.ledger.counts,
    ...run.eventChecks.counts,
    repeatedEvents: run.events.repeats,
    ...run.leases.counts,
    asked: run.asks.asked,
    moves: run.field.operator.moves,
    tableWrites: run.placement.tableWrites,
    takeovers: run.placement.takeovers,
    rejoins: run.nodes.reduce((sum, { running }) => sum + (running?.context.view.rejoins ?? 0), 0),
  };
}
