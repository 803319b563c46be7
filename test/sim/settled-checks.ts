/**
 * Invariants 5 and 6 of DESIGN §10, once the faults have stopped: all shards served,
 * sessions and edges of one mind, inboxes drained, nothing left waiting.
 */

import { nodeNameOf } from "../../actors/placement-view.js";
import { type Shard, sessionKey, shardCount, shardOfKey } from "../../src/protocol/shards.js";
import { shardWildcard } from "../../src/protocol/subjects.js";
import { type Address, addressOn } from "../../src/runtime/address.js";
import { unboundedIn } from "./bound-checks.js";
import type { EventChecks } from "./event-checks.js";
import type { History } from "./history.js";
import type { ModelDevice } from "./model-device.js";
import type { ModelPublisher } from "./model-publisher.js";
import type { ClientSocket } from "./shared-socket.js";
import type { SimBusServer } from "./sim-bus.js";
import type { RunningSimNode, SimNode } from "./sim-node.js";

export interface Settling {
  readonly nodes: readonly SimNode[];
  readonly devices: readonly ModelDevice[];
  readonly publishers: readonly ModelPublisher[];
  readonly history: History;
  readonly eventChecks: EventChecks;
}

interface BoundView {
  readonly index: number;
  readonly number: number;
}

interface DeviceView {
  readonly id: string;
  readonly connection: string | null;
  readonly ackedSeq: number;
  readonly sentSeq: number;
}

/** The first thing that is not as it should be; undefined when all is. */
export function whatIsUnsettled(sim: Settling): string | undefined {
  const running = sim.nodes.flatMap((node) => node.running ?? []);
  if (running.length < sim.nodes.length) return "a node is down";
  return (
    unsettledDevices(sim, running) ??
    unsettledInboxes(sim) ??
    untoldEvents(sim) ??
    unsettledRequests(sim, running) ??
    unsettledPlacement(running)
  );
}

/** All that a plain publish needs is there, at each server of the bus. */
export function isServed(sim: Settling, server: SimBusServer): boolean {
  const running = sim.nodes.flatMap((node) => node.running ?? []);
  const { publishers, nodes } = sim;
  if (running.length < nodes.length || nodes.some((node) => node.isPaused)) return false;
  if (running.some(({ bus }) => !bus.link.isUp || bus.link.isCut)) return false;
  const isHeard = publishers.every(({ shard }) => server.hasInterest(shardWildcard(shard)));
  return isHeard && unsettledPlacement(running) === undefined;
}

/** All shards are with live nodes, every node sees the same, and the owners serve them. */
export function unsettledPlacement(running: readonly RunningSimNode[]): string | undefined {
  const names = new Map(running.map((node) => [nodeNameOf(node.context), node]));
  for (const { name, context } of running) {
    const { view } = context;
    if (!view.isLeaseHeld(context.clock.monotonicMs())) return `${name} has no lease`;
    if (view.nodes.size !== running.length) return `${name} knows ${view.nodes.size} nodes`;
    for (let number = 0; number < shardCount; number++) {
      const owner = view.ownerOf(number as Shard);
      const node = owner && names.get(nodeNameOf(owner));
      if (node === undefined || owner?.state !== "serving") {
        return `${name} sees shard ${number} ${owner?.state ?? "without an owner"}`;
      }
      const epoch = epochServed(node, number as Shard);
      if (epoch !== owner.epoch) {
        return `${node.name} serves shard ${number} under ${epoch}, and owns it under ${owner.epoch}`;
      }
    }
  }
  return undefined;
}

function epochServed({ system, context }: RunningSimNode, shard: Shard): unknown {
  const ref = system.find(`shards/${context.store.groupOf(shard)}/${shard}`);
  return ref === undefined ? undefined : (ref.cell.inspect() as { epoch: number }).epoch;
}

function unsettledDevices(sim: Settling, running: readonly RunningSimNode[]): string | undefined {
  const open = new Set<string>();
  for (const device of sim.devices) {
    const { socket } = device;
    if (!device.isAttached || socket?.connection === undefined)
      return `${device.name} is not attached`;
    const at = running.find(({ transport }) => transport === socket.transport);
    if (at === undefined) return `${device.name} is attached to a node that is gone`;
    const edge = addressOn(nodeNameOf(at.context), "edge");
    open.add(`${edge}/${socket.connection}`);
    const seen = viewOf(device, running);
    const own = numberOf(at, socket);
    if (seen?.connection !== `${edge}/${own}`) {
      return `${device.name} is on ${edge}/${own}, its session says ${seen?.connection}`;
    }
  }
  for (const { context, transport, system } of running) {
    const name = nodeNameOf(context);
    for (const connection of transport.connections()) {
      const at = addressOn(name, `edge/${connection}`);
      if (!open.has(at)) return `${at} is nobody's connection`;
    }
    const children = system.inspectActor(addressOn(name, "edge"))?.childCounts["connection"] ?? 0;
    if (children !== transport.connectionCount) return `${name} has ${children} connection actors`;
    const bound = system.inspectActor(addressOn(name, "edge"))?.childCounts["bound-session"] ?? 0;
    const isBound = ({ socket }: ModelDevice) =>
      socket?.transport === transport && socket.index > 0;
    const wanted = sim.devices.filter(isBound).length;
    if (bound !== wanted) return `${name} has ${bound} bound sessions in place of ${wanted}`;
  }
  return undefined;
}

/** By which owners know a device's session: the connection's, or one of its own. */
function numberOf({ system, context }: RunningSimNode, socket: ClientSocket): number | undefined {
  const { connection, index } = socket;
  if (index === 0) return connection;
  const at = addressOn(nodeNameOf(context), `edge/${connection}`);
  const bound = system.inspectActor(at)?.detail["bound"] as readonly BoundView[] | undefined;
  return bound?.find((one) => one.index === index)?.number;
}

function viewOf(device: ModelDevice, running: readonly RunningSimNode[]): DeviceView | undefined {
  const { app, uid, device: id } = device.plan;
  const key = sessionKey(app, uid);
  const shard = shardOfKey(key);
  const owner = running[0]?.context.view.ownerOf(shard);
  if (owner === undefined) return undefined;
  const node = running.find(({ context }) => nodeNameOf(context) === nodeNameOf(owner));
  if (node === undefined) return undefined;
  const path = `shards/${node.context.store.groupOf(shard)}/${shard}/${key}`;
  const details = node.system.inspectActor(addressOn(nodeNameOf(owner), path) as Address);
  const devices = (details?.detail["devices"] ?? []) as readonly DeviceView[];
  return devices.find((one) => one.id === id);
}

function unsettledInboxes({ history, devices }: Settling): string | undefined {
  for (const device of devices) {
    const owed = history.owedTo(device.plan);
    if (owed.length > 0) return `${device.name} was never shown ${owed.join(", ")}`;
  }
  for (const [key, { entries }] of history.sessions) {
    for (const { seq, dropped } of entries.values()) {
      if (dropped === undefined) return `${key} still has ${seq} in its inbox`;
    }
  }
  return undefined;
}

function untoldEvents({ eventChecks, history, devices }: Settling): string | undefined {
  const online = devices.map(({ plan }) => sessionKey(plan.app, plan.uid));
  return eventChecks.untold(history, online);
}

function unsettledRequests(
  { publishers }: Settling,
  running: readonly RunningSimNode[],
): string | undefined {
  if (publishers.some((publisher) => !publisher.isIdle)) return "a publisher waits for an answer";
  for (const node of running) {
    const unbounded = unboundedIn(node);
    if (unbounded !== undefined) return unbounded;
  }
  return undefined;
}

/** Every push that was answered ok is known to the store by that id, under that number. */
export function wrongAccepted({ publishers, history }: Settling): string | undefined {
  for (const { payload, id, seq } of publishers.flatMap(({ accepted }) => accepted)) {
    const entry = history.entryOf(id);
    const name = `${payload.publisher}#${payload.number}`;
    if (entry?.seq !== seq) return `${name} was answered ok with ${id}, which was never stored`;
    const isOther = entry.payload !== undefined && entry.payload.number !== payload.number;
    if (isOther) return `${name} was answered the id of #${entry.payload?.number}`;
  }
  return undefined;
}
