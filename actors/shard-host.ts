/**
 * All shards of a node: starts the groups that placement gave it, stops those that
 * it took away, and passes on what edges send for sessions.
 *
 * Invariant: a group runs only under the epochs that the table names for this node.
 */
import { ignoreUnknown } from "../src/base/assert.js";
import type { EdgeGone, PlacementChanged, ToSession } from "../src/protocol/messages.js";
import { type Shard, shardCount, shardOfKey } from "../src/protocol/shards.js";
import { Actor } from "../src/runtime/actor.js";
import { type ActorKey, type Address, addressOn } from "../src/runtime/address.js";
import type { Asker, StopReason } from "../src/runtime/envelope.js";
import type { ActorKind } from "../src/runtime/kind.js";
import type { NodeContext } from "./node-context.js";
import { nodeNameOf } from "./placement-view.js";
import type { ViewSession } from "./session.js";
import type { ForSession } from "./shard.js";
import { type EdgeAppeared, type ForShard, ShardGroup } from "./shard-group.js";

export type HostMessage = ToSession | PlacementChanged | ViewSession;

const hostKind: ActorKind = {
  name: "shard-host",
  mailbox: { max: 65_536, onFull: "reject" },
  restart: "permanent",
  stopDeadlineMs: 15_000,
  // A store that fails takes all groups with it, again and again until it is back: the
  // backoff paces them, and the node lives on for its sockets.
  intensity: { restarts: 10_000, withinMs: 10_000 },
  backoff: { baseMs: 100, capMs: 5_000 },
};

type Epochs = ReadonlyMap<Shard, number>;

export class ShardHost extends Actor<HostMessage> {
  /** What each running group was started with. */
  private readonly running = new Map<number, Epochs>();
  private knownEdges = new Set<string>();
  private misdirected = 0;

  constructor(private readonly node: NodeContext) {
    super();
  }

  get kind(): ActorKind {
    return hostKind;
  }

  protected override started(): void {
    this.reconcile();
  }

  protected override createChild(key: ActorKey): Actor {
    return new ShardGroup(this.node, key as number, this.running.get(key as number) ?? new Map());
  }

  /** A group that was stopped on purpose is free for its next owner, or for other epochs here. */
  protected override onChildStopped(key: ActorKey, reason: StopReason): void {
    this.running.delete(key as number);
    if (reason === "normal") this.reportReleased(key as number);
    this.reconcile();
  }

  receive(message: HostMessage, from: Asker | undefined): void {
    switch (message.kind) {
      case "ToSession":
        this.onToSession(message);
        return;
      case "PlacementChanged":
        this.announceEdges();
        this.reconcile();
        return;
      case "ViewSession":
        this.onViewSession(message, from);
        return;
      default:
        ignoreUnknown(message);
    }
  }

  private onToSession({ shard, epoch, key, message }: ToSession): void {
    const group = this.node.store.groupOf(shard);
    const ownEpoch = this.running.get(group)?.get(shard);
    if (ownEpoch !== epoch) {
      this.misdirected++;
      const { edge, connection } = message;
      const known = ownEpoch ?? this.node.view.table.epochOf(shard);
      this.tell(edge as Address, { kind: "WrongOwner", connection, shard, epoch: known });
      return;
    }
    const forSession: ForSession = { kind: "ForSession", key, message };
    this.tellChild(group, { kind: "ForShard", shard, message: forSession } satisfies ForShard);
  }

  private reconcile(): void {
    const wanted = this.wantedGroups();
    for (const [group, epochs] of this.running) {
      if (!isSameEpochs(epochs, wanted.get(group))) this.stopChild(group);
    }
    for (const [group, epochs] of wanted) {
      if (this.running.has(group)) continue;
      this.running.set(group, epochs);
      this.spawn(group);
    }
    // Asked to release what it does not run: say so again, the answer may have been lost.
    for (const group of this.releasingGroups()) {
      if (!this.running.has(group)) this.reportReleased(group);
    }
  }

  private wantedGroups(): Map<number, Map<Shard, number>> {
    const { store, view } = this.node;
    const wanted = new Map<number, Map<Shard, number>>();
    if (!view.isLeaseHeld(this.node.clock.monotonicMs())) return wanted;
    for (let number = 0; number < shardCount; number++) {
      const shard = number as Shard;
      if (view.table.stateOf(shard) !== "serving") continue;
      if (!view.table.isOwnedBy(shard, this.node)) continue;
      const group = store.groupOf(shard);
      const epochs = wanted.get(group) ?? new Map<Shard, number>();
      epochs.set(shard, view.table.epochOf(shard));
      wanted.set(group, epochs);
    }
    return wanted;
  }

  private releasingGroups(): Set<number> {
    const { store, view } = this.node;
    const releasing = new Set<number>();
    for (let number = 0; number < shardCount; number++) {
      const shard = number as Shard;
      if (view.table.stateOf(shard) !== "releasing") continue;
      if (view.table.isOwnedBy(shard, this.node)) releasing.add(store.groupOf(shard));
    }
    return releasing;
  }

  private reportReleased(group: number): void {
    const { leader } = this.node.view;
    if (leader === undefined || !this.releasingGroups().has(group)) return;
    const { nodeId, incarnation } = this.node;
    const message = { kind: "GroupReleased", group, nodeId, incarnation } as const;
    this.tell(addressOn(nodeNameOf(leader), "placement"), message);
  }

  private announceEdges(): void {
    const edges = new Set(
      [...this.node.view.nodes.values()].map((node) => addressOn(nodeNameOf(node), "edge")),
    );
    for (const edge of this.knownEdges) {
      if (edges.has(edge as Address)) continue;
      const gone: EdgeGone = { kind: "EdgeGone", edge };
      for (const group of this.running.keys()) this.tellChild(group, gone);
    }
    for (const edge of edges) {
      if (this.knownEdges.has(edge)) continue;
      const appeared: EdgeAppeared = { kind: "EdgeAppeared", edge };
      for (const group of this.running.keys()) this.tellChild(group, appeared);
    }
    this.knownEdges = edges;
  }

  private onViewSession(message: ViewSession, from: Asker | undefined): void {
    if (from === undefined) return;
    const shard = shardOfKey(message.key);
    const group = this.node.store.groupOf(shard);
    const address = addressOn(nodeNameOf(this.node), `shards/${group}/${shard}`);
    this.ask(address, message, this.node.limits.requestDeadlineMs).then((answer) => {
      if (answer.ok) from.answer(answer.value);
      else from.refuse(answer.code, answer.message);
    });
  }

  override inspect(): Record<string, unknown> {
    return { groups: [...this.running.keys()], misdirected: this.misdirected };
  }
}

function isSameEpochs(running: Epochs, wanted: Epochs | undefined): boolean {
  if (wanted === undefined || wanted.size !== running.size) return false;
  for (const [shard, epoch] of running) {
    if (wanted.get(shard) !== epoch) return false;
  }
  return true;
}
