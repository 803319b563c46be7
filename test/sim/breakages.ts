/**
 * Deliberate breakages, to prove that the checkers can fail. Each takes one safeguard
 * out of the actors for the time of a run, by a patch or by a wrapped port, and says
 * which invariant then breaks, under which faults, and within how many seeds.
 */
import { Connection } from "../../actors/connection.js";
import { Edge } from "../../actors/edge.js";
import { Inbox } from "../../actors/inbox.js";
import { PlacementView } from "../../actors/placement-view.js";
import { answerAccepted } from "../../actors/push-answering.js";
import { Session } from "../../actors/session.js";
import { ShardGroup } from "../../actors/shard-group.js";
import type { Clock } from "../../src/base/clock.js";
import type { InboxGroup } from "../../src/ports/inbox-store.js";
import { PlacementTable } from "../../topology/placement-table.js";
import type { FaultName } from "./nemesis.js";
import type { BreakGroup } from "./sim-store.js";

export interface Breakage {
  readonly name: string;
  /** Of DESIGN §10. */
  readonly invariant: number;
  readonly faults: readonly FaultName[];
  /** Seeds from 1 on, of which one must fail. */
  readonly seedsMax: number;
  /** Patches actors for the time of a run; returns the way back. */
  readonly apply?: () => () => void;
  readonly breakGroup?: BreakGroup;
  readonly breakClock?: (clock: Clock) => Clock;
  /** Written whatever their revision is. */
  readonly uncomparedKeys?: readonly string[];
}

/** Replaces a method, also a private one; `change` is given the one that was there. */
function patch<Method>(prototype: object, name: string, change: (was: Method) => Method) {
  const methods = prototype as Record<string, Method>;
  const was = methods[name] as Method;
  methods[name] = change(was);
  return () => {
    methods[name] = was;
  };
}

function together(...undo: (() => void)[]): () => void {
  return () => {
    for (const step of undo) step();
  };
}

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
    invariant: 1,
    faults: ["kill", "pause", "store-stall"],
    seedsMax: 20,
    apply: withoutOwnFence,
    breakGroup: (group) =>
      groupWith(group, {
        commit: (writes) =>
          group.commit(writes.map((write) => ({ ...write, epoch: Number.MAX_SAFE_INTEGER }))),
      }),
  },
  {
    name: "no-epoch-check",
    invariant: 1,
    faults: ["pause", "cut", "slow-bus"],
    seedsMax: 150,
    apply: () =>
      together(
        withoutOwnFence(),
        patch<OnEpoch>(
          Connection.prototype,
          "onAttached",
          (was) =>
            function (message) {
              this.epoch = 0;
              was.call(this, message);
            },
        ),
        patch<OnEpoch>(
          Connection.prototype,
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
    invariant: 1,
    faults: ["wall-jump"],
    seedsMax: 10,
    breakClock: (clock) => ({
      wallMs: () => clock.wallMs(),
      monotonicMs: () => clock.wallMs(),
      after: (delayMs, callback) => clock.after(delayMs, callback),
      soon: (callback) => clock.soon(callback),
    }),
  },
  {
    name: "table-without-compare",
    invariant: 1,
    faults: ["kv-unknown", "kill", "stop"],
    seedsMax: 60,
    uncomparedKeys: ["table"],
  },
  {
    name: "same-epoch",
    invariant: 1,
    faults: ["kill", "stop"],
    seedsMax: 10,
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
    invariant: 2,
    faults: [],
    seedsMax: 1,
    apply: () =>
      patch<Session["answerOnCommit"]>(
        Session.prototype,
        "answerOnCommit",
        (was) =>
          function (this: Session, push, id, seq, isDuplicate, write) {
            answerAccepted(this["context"].node.bus, push.reply, id, seq, isDuplicate);
            was.call(this, { ...push, reply: undefined }, id, seq, isDuplicate, write);
          },
      ),
  },
  {
    name: "no-prev-check",
    invariant: 3,
    faults: ["loss"],
    seedsMax: 10,
    apply: () =>
      patch<OnDeliver>(
        Connection.prototype,
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
    invariant: 3,
    faults: ["loss", "kill"],
    seedsMax: 10,
    apply: () => patch<Inbox["findKey"]>(Inbox.prototype, "findKey", () => () => undefined),
  },
  {
    name: "forget-seq",
    invariant: 3,
    faults: ["kill", "stop"],
    seedsMax: 10,
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
    invariant: 3,
    faults: ["wall-jump", "stop"],
    seedsMax: 10,
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
    invariant: 4,
    faults: ["device"],
    seedsMax: 10,
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
    invariant: 6,
    faults: ["kill", "stop"],
    seedsMax: 10,
    apply: () =>
      together(
        patch<ShardGroup["askEdges"]>(ShardGroup.prototype, "askEdges", () => () => {}),
        patch<Edge["onPlacementChanged"]>(Edge.prototype, "onPlacementChanged", () => () => {}),
      ),
  },
];
