/**
 * What this node tells a client that asks where to connect: topology/dispatch decides, by
 * the node's view of the others and by what operators have said.
 */
import {
  dispatch,
  type EdgeAddress,
  type EdgeChoice,
  edgeChoice,
  isStaleRecord,
} from "../topology/dispatch.js";
import { nodeKey } from "../topology/node-record.js";
import type { NodeContext } from "./node-context.js";

export interface DispatchAnswer {
  /** In the order in which they are to be tried; none while nobody takes clients. */
  readonly edges: readonly EdgeAddress[];
  /** For so long a client need not ask again. */
  readonly ttlMs: number;
  readonly backoff: { readonly baseMs: number; readonly capMs: number };
  /** Of all clients, 0 to 1: who draws above it waits `retryAfterMs` before it asks again. */
  readonly letIn: number;
  readonly retryAfterMs?: number;
}

/** A list that has grown old costs a refused handshake: the next address is tried. */
const ttlMs = 300_000;
const backoff = { baseMs: 500, capMs: 30_000 };
const turnedAwayMs = 10_000;
const noEdgeMs = 5_000;
/** Who may be told of is looked at so often: what changes at once, view and policy, is a moment late. */
const lookEveryMs = 200;

export class Dispatcher {
  private choice: EdgeChoice = { own: [], others: [], lastResort: [] };
  private lookedAtMs = Number.NEGATIVE_INFINITY;

  constructor(
    private readonly node: Pick<NodeContext, "nodeId" | "idc" | "view" | "clock" | "limits">,
  ) {}

  answer(key: string, attempt: number): DispatchAnswer {
    const edges = dispatch(this.look(), key, attempt);
    const letIn = this.node.view.letInPercent / 100;
    return {
      edges,
      ttlMs,
      backoff,
      letIn,
      ...(letIn < 1 ? { retryAfterMs: turnedAwayMs } : {}),
      ...(edges.length === 0 ? { retryAfterMs: noEdgeMs } : {}),
    };
  }

  /**
   * For a client of this node's own edge, which is to leave it. Never another one in drain,
   * as a last resort either: the two would send it to and fro.
   */
  elsewhereFor(key: string): readonly EdgeAddress[] {
    const { own, others } = this.look();
    const rest = own.filter(({ id }) => id !== this.node.nodeId);
    return dispatch({ own: rest, others, lastResort: [] }, key, 0);
  }

  /** Whether a client of this node's own edge has anywhere to go. */
  get isAnybodyElse(): boolean {
    const { own, others } = this.look();
    return others.length > 0 || own.some(({ id }) => id !== this.node.nodeId);
  }

  /** Where the dispatcher is that answers in this one's place, while clients are sent away. */
  get elsewhere(): string | undefined {
    const { awayTo, others } = this.node.view.edgePolicy;
    if (awayTo === undefined) return undefined;
    return others.find(({ idc }) => idc === awayTo)?.dispatcher;
  }

  private look(): EdgeChoice {
    const { view, clock, limits, idc } = this.node;
    const nowMs = clock.monotonicMs();
    if (nowMs - this.lookedAtMs < lookEveryMs) return this.choice;
    this.lookedAtMs = nowMs;
    // Who cannot renew its own lease hears of nobody's: what was known last is the best there is.
    const isBlind = !view.isLeaseHeld(nowMs);
    this.choice = edgeChoice({
      idc,
      policy: view.edgePolicy,
      nodes: view.nodes.values(),
      isStale: (record) => {
        const seen = view.sightings.get(nodeKey(record.nodeId));
        return !isBlind && isStaleRecord(record, seen, nowMs, limits.leaseMarginMs);
      },
    });
    return this.choice;
  }
}
