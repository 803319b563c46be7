/**
 * Which nodes are still there, as the placement of one node sees it: their leases by the
 * bucket's revisions, their inboxes by pings, their processes by the machine.
 */
import { Fault } from "../src/base/result.js";
import type { ProcessIdentity } from "../src/ports/processes.js";
import { pingSubject } from "../src/protocol/subjects.js";
import { goneReason, type Sighting } from "../topology/election.js";
import type { Member } from "../topology/placement-table.js";
import type { NodeContext } from "./node-context.js";
import { nodeNameOf } from "./placement-view.js";

/** A ping came back, or nobody was there to answer it. */
export interface Pinged {
  readonly kind: "Pinged";
  readonly name: string;
  readonly heard: "answered" | "no responders" | "unknown" | "bus gone";
}

/**
 * A ping that reached a process as it died is never answered, and as long as it is waited
 * for its node is not pinged again. One that is only late proves nothing either way.
 */
const pingDeadlineMs = 250;
const busSettleMs = 1_500;

export class NodeWatch {
  /** By node name: since when its inbox has had no responders. */
  private readonly silentSince = new Map<string, number>();
  private readonly pinging = new Set<string>();
  private busSettledMs = 0;

  /** `tell` hands each ping's end to the actor that owns this. */
  constructor(
    private readonly node: NodeContext,
    private readonly tell: (pinged: Pinged) => void,
  ) {}

  /** One ping a member at a time; the own node is left out. */
  ping(members: Iterable<Member>): void {
    const { bus, nodeId } = this.node;
    for (const member of members) {
      const name = nodeNameOf(member);
      if (member.nodeId === nodeId || this.pinging.has(name)) continue;
      this.pinging.add(name);
      const end = (heard: Pinged["heard"]) => this.tell({ kind: "Pinged", name, heard });
      const subject = pingSubject(member.nodeId, member.incarnation);
      bus.request(subject, new Uint8Array(0), pingDeadlineMs).then(
        () => end("answered"),
        (cause) => end(cause instanceof Fault ? silenceOf(cause) : "unknown"),
      );
    }
  }

  onPinged({ name, heard }: Pinged): void {
    const nowMs = this.node.clock.monotonicMs();
    this.pinging.delete(name);
    if (heard === "bus gone") {
      // Others may be reconnecting, too: their silence says nothing for a while.
      this.silentSince.clear();
      this.busSettledMs = nowMs + busSettleMs;
    } else if (heard !== "no responders") {
      this.silentSince.delete(name);
    } else if (!this.silentSince.has(name) && nowMs >= this.busSettledMs) {
      this.silentSince.set(name, nowMs);
    }
  }

  /** What was silent may long have come back: begin to listen anew. */
  forget(): void {
    this.silentSince.clear();
  }

  /**
   * Why the holder of `key` counts as gone, and by which revision it was judged: only
   * that one may be acted on. Undefined while it does not.
   * `watchedSinceMs`: a record that did not change before may have been the bus's fault,
   * not the member's.
   */
  async goneReason(
    key: string,
    member: Member & ProcessIdentity & { readonly leaseMs: number },
    watchedSinceMs: number,
  ): Promise<{ readonly reason: string; readonly revision: number } | undefined> {
    const { view, limits, clock, processes } = this.node;
    const last = view.sightings.get(key);
    if (last === undefined) return undefined;
    const seen = { ...last, sinceMs: Math.max(last.sinceMs, watchedSinceMs) };
    const silentSinceMs = this.silentSince.get(nodeNameOf(member));
    const sighting: Sighting = silentSinceMs === undefined ? seen : { ...seen, silentSinceMs };
    const reason = goneReason(sighting, clock.monotonicMs(), {
      // Its holder counts by what it wrote, which other settings may have given it.
      leaseMs: Math.max(limits.leaseMs, member.leaseMs),
      marginMs: limits.leaseMarginMs,
      silenceMs: limits.silenceMs,
    });
    // Silence may be a connection that is being made again; a process that is gone stays gone.
    if (reason === "no responders" && !(await processes.isGone(member))) return undefined;
    return reason === undefined ? undefined : { reason, revision: last.revision };
  }
}

function silenceOf(fault: Fault): Pinged["heard"] {
  if (fault.code === "NO_RESPONDERS") return "no responders";
  return fault.code === "DISCONNECTED" ? "bus gone" : "unknown";
}
