/**
 * Invariant 6 of DESIGN §10 on real processes, as an operator could see it: sessions'
 * connections are the sockets that are open, and nothing is left in an inbox.
 */
import type { Device } from "../../src/client/device-client.js";
import { NatsBus } from "../../src/drivers/nats-bus.js";
import { type DeskRequest, encodeDesk } from "../../src/protocol/operator-desk.js";
import { shardOf } from "../../src/protocol/shards.js";
import { operatorSubject } from "../../src/protocol/subjects.js";
import { encodeToken } from "../../src/protocol/tokens.js";
import { addressOn, nodeName } from "../../src/runtime/address.js";
import type { Member } from "../../topology/placement-table.js";
import type { EdgeSockets } from "./edge-sockets.js";
import { readTable } from "./placement-state.js";
import { app, type Platform } from "./platform.js";

/** Of a load: every device that there is, and the sockets that they have open. */
export interface LoadDevices {
  readonly all: readonly LoadDevice[];
  readonly sockets: EdgeSockets;
}

interface LoadDevice {
  readonly uid: string;
  readonly name: string;
  readonly device: Device;
}

interface UserView {
  readonly inbox: { readonly messages: number };
  readonly devices: readonly { readonly id: string; readonly connection: string | null }[];
}

interface StatusView {
  readonly edge: { readonly connections: number };
}

const deskDeadlineMs = 2_000;

/** The first thing that is not as it should be; undefined when all is. */
export async function whatIsUnsettled(
  platform: Platform,
  devices: LoadDevices,
): Promise<string | undefined> {
  return (await unsettledEdges(platform, devices)) ?? (await unsettledUsers(platform, devices));
}

async function unsettledEdges(
  platform: Platform,
  { sockets }: LoadDevices,
): Promise<string | undefined> {
  for (const name of platform.nodes.keys()) {
    const status = await askDesk<StatusView>(platform, await memberOf(platform, name), {
      kind: "status",
    });
    if (typeof status === "string") return `${name} gives no status: ${status}`;
    const open = sockets.openOn(name);
    if (status.edge.connections !== open) {
      return `${name} has ${status.edge.connections} connections, and ${open} sockets are open`;
    }
  }
  return undefined;
}

async function unsettledUsers(
  platform: Platform,
  { all }: LoadDevices,
): Promise<string | undefined> {
  const table = await readTable(platform);
  const edges = await edgeNames(platform);
  for (const uid of new Set(all.map((each) => each.uid))) {
    const owner = table.ownerOf(shardOf(encodeToken(app), encodeToken(uid)));
    if (owner?.state !== "serving") return `${uid} has no owner that serves`;
    const request = { kind: "user", app: encodeToken(app), uid: encodeToken(uid) } as const;
    const view = await askDesk<UserView>(platform, owner, request);
    if (typeof view === "string") return `${owner.nodeId} does not show ${uid}: ${view}`;
    for (const each of all.filter((device) => device.uid === uid)) {
      const unsettled = unsettledDevice(each, view, edges);
      if (unsettled !== undefined) return unsettled;
    }
    const { messages } = view.inbox;
    // Who is away has its messages kept.
    const areOnline = all.every((each) => each.uid !== uid || isOnline(each));
    if (areOnline && messages > 0) {
      const how = await howItIsServed(platform, view);
      return `${uid} still has ${messages} messages in its inbox: ${how}`;
    }
  }
  return undefined;
}

/** The session as it is, and what the edges know of its connections. */
async function howItIsServed(platform: Platform, view: UserView): Promise<string> {
  const connections: unknown[] = [];
  for (const { connection } of view.devices) {
    for (const name of platform.nodes.keys()) {
      if (connection === null) continue;
      const request = { kind: "actor", address: connection } as const;
      const seen = await askDesk<object>(platform, await memberOf(platform, name), request);
      if (typeof seen !== "string") connections.push(seen);
    }
  }
  return JSON.stringify({ session: view, connections });
}

function unsettledDevice(
  recorded: LoadDevice,
  view: UserView,
  edges: ReadonlySet<string>,
): string | undefined {
  const { uid, name, device } = recorded;
  const seen = view.devices.find(({ id }) => id === name)?.connection ?? null;
  if (isOnline(recorded) !== (seen !== null)) {
    return `${name} of ${uid} is ${device.state.name}, its session says ${seen}`;
  }
  const edge = seen?.slice(0, seen.lastIndexOf("/"));
  if (edge !== undefined && !edges.has(edge)) return `${name} of ${uid} is on ${edge}, long gone`;
  return undefined;
}

function isOnline({ device }: LoadDevice): boolean {
  return device.state.name === "attached";
}

async function edgeNames(platform: Platform): Promise<Set<string>> {
  const edges = new Set<string>();
  for (const name of platform.nodes.keys()) {
    const { nodeId, incarnation } = await memberOf(platform, name);
    edges.add(addressOn(nodeName(nodeId, incarnation), "edge"));
  }
  return edges;
}

/** As its session has it; undefined while nobody answers for it. */
export async function inboxMessagesOf(
  platform: Platform,
  uid: string,
): Promise<number | undefined> {
  const owner = (await readTable(platform)).ownerOf(shardOf(encodeToken(app), encodeToken(uid)));
  if (owner?.state !== "serving") return undefined;
  const request = { kind: "user", app: encodeToken(app), uid: encodeToken(uid) } as const;
  const view = await askDesk<UserView>(platform, owner, request);
  return typeof view === "string" ? undefined : view.inbox.messages;
}

export function memberOf(platform: Platform, name: string): Promise<Member> {
  return platform.nodeRecord(`dc1-${name}`);
}

/** What the node's desk says, or why it says nothing. */
async function askDesk<View extends object>(
  platform: Platform,
  { nodeId, incarnation }: Member,
  request: DeskRequest,
): Promise<View | string> {
  const subject = operatorSubject(nodeId, incarnation);
  try {
    const bus = new NatsBus(platform.operator);
    const bytes = await bus.request(subject, encodeDesk(request), deskDeadlineMs);
    const answer = JSON.parse(new TextDecoder().decode(bytes)) as
      | { ok: true; value: View }
      | { ok: false; code: string };
    return answer.ok ? answer.value : answer.code;
  } catch (error) {
    return String(error);
  }
}
