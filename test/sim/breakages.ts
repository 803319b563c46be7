/**
 * Deliberate breakages, to prove that the checkers can fail. Each takes one safeguard
 * out of the actors for the time of a run, by a patch or by a wrapped port, and says
 * which invariant then breaks, under which faults, and within how many seeds.
 */

import { Attachments } from "../../actors/attachments.js";
import { Attempts } from "../../actors/attempts.js";
import { BoundSession } from "../../actors/bound-session.js";
import { Edge } from "../../actors/edge.js";
import { Inbox } from "../../actors/inbox.js";
import { PlacementView } from "../../actors/placement-view.js";
import { PushAcceptance } from "../../actors/push-acceptance.js";
import { answerAccepted } from "../../actors/push-answering.js";
import { ShardGroup } from "../../actors/shard-group.js";
import type { InboxGroup } from "../../src/ports/inbox-store.js";
import { EpochFloor } from "../../topology/epoch-floor.js";
import { PlacementTable } from "../../topology/placement-table.js";
import { type Breakage, patch, together } from "./breakage.js";
import { eventBreakages } from "./event-breakages.js";
import { moveBreakages } from "./move-breakages.js";
import { tableInTwoParts } from "./table-in-two-parts.js";

/**
 * The fence that a node puts up against itself. It hides that another one is missing, so
 * who takes one of those out takes this out, too.
 */
function withoutOwnFence(): () => void {
  return patch<PlacementView["isLeaseHeld"]>(
    PlacementView.prototype,
    "isLeaseHeld",
    () =>
      function (this: PlacementView) {
        return this.leaseDeadlineMs > 0;
      },
  );
}

/** The same group but for some of its methods. */
function groupWith(group: InboxGroup, changed: Partial<InboxGroup>): InboxGroup {
  const bound = Object.create(group) as InboxGroup;
  return Object.assign(bound, changed);
}

interface InnerConnection {
  epoch: number;
  generation: number;
  sentSeq: number;
}

type OnEpoch = (this: InnerConnection, message: { epoch: number }) => void;
type OnDeliver = (this: InnerConnection, message: { prev: number; generation: number }) => void;

export const breakages: readonly Breakage[] = [
  {
    name: "no-fence",
    invariants: [1],
    faults: ["kill", "pause", "store-stall"],
    firstSeed: 20,
    seedsMax: 45,
    apply: withoutOwnFence,
    breakGroup: (group) =>
      groupWith(group, {
        commit: (writes) =>
          group.commit(writes.map((write) => ({ ...write, epoch: Number.MAX_SAFE_INTEGER }))),
      }),
  },
  {
    name: "no-epoch-check",
    invariants: [1],
    faults: ["sever", "cut", "move", "slow-bus"],
    pace: 0.4,
    firstSeed: 6,
    seedsMax: 90,
    apply: () =>
      together(
        withoutOwnFence(),
        patch<OnEpoch>(
          BoundSession.prototype,
          "onAttached",
          (was) =>
            function (message) {
              this.epoch = 0;
              was.call(this, message);
            },
        ),
        patch<OnEpoch>(
          BoundSession.prototype,
          "onDeliver",
          (was) =>
            function (message) {
              this.epoch = message.epoch;
              was.call(this, message);
            },
        ),
      ),
  },
  {
    name: "wall-clock-lease",
    invariants: [1],
    faults: ["wall-jump"],
    seedsMax: 12,
    breakClock: (clock) => ({
      wallMs: () => clock.wallMs(),
      monotonicMs: () => clock.wallMs(),
      after: (delayMs, callback) => clock.after(delayMs, callback),
      soon: (callback) => clock.soon(callback),
    }),
  },
  {
    name: "table-without-compare",
    invariants: [1],
    faults: ["kv-unknown", "kv-election", "kill", "move"],
    firstSeed: 26,
    seedsMax: 45,
    uncomparedKeys: ["table"],
  },
  {
    name: "same-epoch",
    invariants: [1],
    faults: ["kill", "stop"],
    seedsMax: 8,
    apply: () =>
      patch<PlacementTable["withOwner"]>(
        PlacementTable.prototype,
        "withOwner",
        (was) =>
          function (this: PlacementTable, shards, member, floor) {
            const given = was.call(this, shards, member, floor);
            const { epochs } = given as unknown as { epochs: Uint32Array };
            for (const shard of shards) epochs[shard] = Math.max(1, this.epochOf(shard));
            return given;
          },
      ),
  },
  {
    name: "ack-before-commit",
    invariants: [2],
    faults: [],
    seedsMax: 1,
    apply: () =>
      patch<PushAcceptance["answerOnCommit"]>(
        PushAcceptance.prototype,
        "answerOnCommit",
        (was) =>
          function (this: PushAcceptance, push, id, seq, isDuplicate, write) {
            answerAccepted(this["desk"].context.node.bus, push.reply, id, seq, isDuplicate);
            was.call(this, { ...push, reply: undefined }, id, seq, isDuplicate, write);
          },
      ),
  },
  {
    name: "no-prev-check",
    invariants: [3],
    faults: ["loss"],
    seedsMax: 8,
    apply: () =>
      patch<OnDeliver>(
        BoundSession.prototype,
        "onDeliver",
        (was) =>
          function (message) {
            this.sentSeq = message.prev;
            this.generation = message.generation;
            was.call(this, message);
          },
      ),
  },
  {
    name: "forget-keys",
    invariants: [3],
    faults: ["loss", "kill"],
    seedsMax: 8,
    apply: () => patch<Inbox["findKey"]>(Inbox.prototype, "findKey", () => () => undefined),
  },
  {
    name: "forget-seq",
    invariants: [3],
    faults: ["kill", "stop"],
    seedsMax: 8,
    breakGroup: (group) =>
      groupWith(group, {
        loadSession: async (shard, key) => {
          const stored = await group.loadSession(shard, key);
          const lastSeq = stored?.entries.at(-1)?.seq ?? 0;
          return stored && { ...stored, record: { ...stored.record, lastSeq } };
        },
      }),
  },
  {
    name: "no-reservation",
    invariants: [3],
    faults: ["wall-jump", "stop"],
    seedsMax: 8,
    breakGroup: (group) =>
      groupWith(group, {
        raise: async (requests) => {
          const answers = await group.raise(requests);
          return answers.map((answer) =>
            answer.ok
              ? { ...answer, value: { ...answer.value, previousReservedUntilMs: 0 } }
              : answer,
          );
        },
      }),
  },
  {
    name: "trim-highest-ack",
    invariants: [4],
    faults: ["device"],
    firstSeed: 2,
    seedsMax: 20,
    apply: () =>
      patch<Inbox["trim"]>(
        Inbox.prototype,
        "trim",
        (was) =>
          function (this: Inbox, devices, device, oldSeq, _policy, write) {
            was.call(this, devices, device, oldSeq, "first-ack", write);
          },
      ),
  },
  {
    name: "no-attach-again",
    invariants: [6],
    faults: ["kill", "stop"],
    seedsMax: 20,
    apply: () =>
      together(
        patch<ShardGroup["askEdges"]>(ShardGroup.prototype, "askEdges", () => () => {}),
        patch<Edge["onPlacementChanged"]>(Edge.prototype, "onPlacementChanged", () => () => {}),
      ),
  },
  {
    name: "table-in-two-parts",
    invariants: [6],
    faults: ["kill", "kv-unknown", "ambush", "move"],
    firstSeed: 5,
    seedsMax: 45,
    breakKeyValue: tableInTwoParts,
  },
  {
    name: "no-self-fencing",
    invariants: [1],
    faults: ["pause", "cut", "kv-gap", "kv-election"],
    seedsMax: 20,
    apply: withoutOwnFence,
  },
  {
    // Each of the two keeps the other's absence from doing harm: who is given an epoch that
    // was given before is refused by the fence, and then given a higher one.
    name: "epoch-reused",
    invariants: [1],
    faults: ["rollback", "kill", "move"],
    seedsMax: 20,
    apply: () => patch<EpochFloor["lift"]>(EpochFloor.prototype, "lift", () => (table) => table),
    breakGroup: (group) =>
      groupWith(group, {
        raise: (requests) => group.raise(requests.map((one) => ({ ...one, holder: "anybody" }))),
      }),
  },
  {
    name: "no-ack-clamp",
    invariants: [4],
    faults: ["device", "kill"],
    firstSeed: 8,
    seedsMax: 40,
    apply: () =>
      patch<Attachments["acked"]>(
        Attachments.prototype,
        "acked",
        (was) =>
          function (this: Attachments, acked) {
            const { devices } = this["desk"];
            const device = devices.find((one) => one.isServedOn(acked));
            // Believed: what the device says is what it was sent.
            if (device !== undefined && acked.position.seq > device.sentSeq) {
              device.sentSeq = acked.position.seq;
            }
            return was.call(this, acked);
          },
      ),
  },
  {
    name: "sets-aside-early",
    invariants: [2],
    faults: ["device"],
    seedsMax: 8,
    limits: { ackWaitMs: 300 },
    apply: () =>
      patch<Attempts["isUsedUpBy"]>(
        Attempts.prototype,
        "isUsedUpBy",
        () =>
          function (this: Attempts, firstSeq) {
            return firstSeq <= this["triedSeq"];
          },
      ),
  },
  {
    // Many attempts between two moves: what each owner forgets is more than it may.
    name: "forgets-attempts",
    invariants: [2],
    faults: ["device", "move"],
    pace: 0.4,
    seedsMax: 12,
    limits: { ackWaitMs: 60 },
    apply: () => patch<Attempts["toRecord"]>(Attempts.prototype, "toRecord", () => () => ({})),
  },
  ...moveBreakages,
  ...eventBreakages,
];
