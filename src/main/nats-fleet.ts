/**
 * The command line's view of a running Belfry, over its own NATS connection: reads
 * the placement bucket, asks nodes at their operators' desks, pushes on an app's
 * behalf, and keeps the registry.
 */
import { leaderKey, tableKey } from "../../actors/membership.js";
import { decodeLeader } from "../../topology/election.js";
import { decodeNodeRecord, nodeKeyPrefix } from "../../topology/node-record.js";
import { PlacementTable } from "../../topology/placement-table.js";
import { accepted, Fault, type Result, refused } from "../base/result.js";
import { decodeDeskAnswer, decodeInboxAnswer, decodePushAnswer } from "../cli/answer.js";
import type {
  Fleet,
  FleetNode,
  FleetSettings,
  Leader,
  NatsUserGrant,
  NodeName,
  Placement,
  ShardPlace,
} from "../cli/fleet.js";
import { NatsBus } from "../drivers/nats-bus.js";
import { connectNats, type NatsConnection } from "../drivers/nats-connection.js";
import { bindKeyValue } from "../drivers/nats-key-value.js";
import type { KeyValue } from "../ports/key-value.js";
import type { InboxRequest } from "../protocol/inbox-request.js";
import { type DeskRequest, encodeDesk } from "../protocol/operator-desk.js";
import { type Shard, shardCount } from "../protocol/shards.js";
import { inboxUserSubject, operatorSubject, pushUserSubject } from "../protocol/subjects.js";
import type { Bus } from "../runtime/ports.js";
import { findNatsAccess, type NatsAccess } from "./nats-access.js";
import { grantNatsUser } from "./nats-user-grant.js";
import { isAnybodyListening } from "./tcp-probe.js";

/** See OpenFleet for what it refuses and throws. */
export async function openNatsFleet(
  settings: FleetSettings,
  environment: Readonly<Record<string, string | undefined>>,
): Promise<Result<Fleet, "UNAUTHORIZED" | "USAGE">> {
  const access = findNatsAccess(settings, environment);
  if (!access.ok) return access;
  const { url, user } = access.value;
  if (!(await isAnybodyListening(url, settings.timeoutMs))) throw notRunning(url);
  try {
    const connection = await connectNats({ ...access.value, name: "belfry" });
    return accepted(new NatsFleet(connection, access.value, settings.timeoutMs));
  } catch (error) {
    if (!(error instanceof Fault)) throw error;
    if (nameOf(error.cause) === "AuthorizationError") {
      const whom = user === undefined ? "a client without a user" : user;
      return refused("UNAUTHORIZED", `the NATS server at ${url} does not let ${whom} in`);
    }
    throw error.code === "NATS_UNREACHABLE" ? notRunning(url, error) : error;
  }
}

function notRunning(url: string, cause?: unknown): Fault {
  const message = `nobody answers at ${url}: is it running? make run`;
  return new Fault("NOT_RUNNING", "not-done", message, { cause });
}

function nameOf(error: unknown): string {
  return error instanceof Error ? error.name : "";
}

class NatsFleet implements Fleet {
  private readonly bus: Bus;
  private openedApps: Promise<KeyValue> | undefined = undefined;

  constructor(
    private readonly connection: NatsConnection,
    private readonly access: NatsAccess,
    private readonly timeoutMs: number,
  ) {
    this.bus = new NatsBus(connection);
  }

  get natsUrl(): string {
    return this.access.url;
  }

  async placement(): Promise<Placement> {
    const bucket = await this.open("placement");
    const [table, leader, nodes] = await Promise.all([
      bucket.get(tableKey),
      bucket.get(leaderKey),
      bucket.list(nodeKeyPrefix),
    ]);
    const placed = readTable(table?.value);
    const isBad = leader !== undefined && readLeader(leader.value) === undefined;
    const badNodes = nodes.filter(({ value }) => decodeNodeRecord(value) === undefined);
    return {
      unreadable: [...(isBad ? [leaderKey] : []), ...badNodes.map(({ key }) => key)],
      nodes: nodes
        .flatMap(({ value }) => decodeNodeRecord(value) ?? [])
        .sort((a, b) => (a.nodeId < b.nodeId ? -1 : 1))
        .map(({ v: _version, ...node }): FleetNode => node),
      leader: leader === undefined ? undefined : readLeader(leader.value),
      shards: placesOf(placed),
      draining: placed.draining,
    };
  }

  async ask(node: NodeName, request: DeskRequest) {
    const subject = operatorSubject(node.nodeId, node.incarnation);
    return decodeDeskAnswer(await this.bus.request(subject, encodeDesk(request), this.timeoutMs));
  }

  async push(app: string, uid: string, payload: Uint8Array) {
    return decodePushAnswer(await this.askOwner(pushUserSubject(app, uid), payload, app, uid));
  }

  async inbox(app: string, uid: string, request: InboxRequest) {
    const payload = new TextEncoder().encode(JSON.stringify(request));
    return decodeInboxAnswer(await this.askOwner(inboxUserSubject(app, uid), payload, app, uid));
  }

  private async askOwner(subject: string, payload: Uint8Array, app: string, uid: string) {
    try {
      return await this.bus.request(subject, payload, this.timeoutMs);
    } catch (error) {
      if (!(error instanceof Fault) || error.code !== "NO_RESPONDERS") throw error;
      const message = `nobody serves ${uid} of ${app} now; see belfry status`;
      throw new Fault("NO_RESPONDERS", "not-done", message, { cause: error });
    }
  }

  apps(): Promise<KeyValue> {
    this.openedApps ??= this.open("apps");
    return this.openedApps;
  }

  /** The first node makes the buckets; on a server without them there was none yet. */
  private async open(bucket: string): Promise<KeyValue> {
    try {
      return await bindKeyValue(this.connection, bucket);
    } catch (error) {
      if (!(error instanceof Fault)) throw error;
      const message = `no Belfry is to be found at ${this.natsUrl} (${error.message})`;
      throw new Fault("NOT_RUNNING", "not-done", message, { cause: error });
    }
  }

  addNatsUser(app: string): Promise<NatsUserGrant> {
    return grantNatsUser(this.access, app, this.timeoutMs);
  }

  close(): Promise<void> {
    return this.connection.close();
  }
}

function readLeader(bytes: Uint8Array): Leader | undefined {
  const leader = decodeLeader(bytes);
  if (!leader.ok) return undefined;
  const { nodeId, incarnation, epoch, leaseMs } = leader.value;
  return { nodeId, incarnation, epoch, leaseMs };
}

/** No table yet: nobody owns anything. */
function readTable(bytes: Uint8Array | undefined): PlacementTable {
  const read =
    bytes === undefined ? accepted(PlacementTable.empty()) : PlacementTable.decode(bytes);
  if (!read.ok) throw new Fault("BAD_ANSWER", "not-done", `the placement table: ${read.message}`);
  return read.value;
}

function placesOf(table: PlacementTable): ShardPlace[] {
  return Array.from({ length: shardCount }, (_, number) => {
    const shard = number as Shard;
    const owner = table.ownerOf(shard);
    return {
      shard,
      state: table.stateOf(shard),
      epoch: table.epochOf(shard),
      owner: owner && { nodeId: owner.nodeId, incarnation: owner.incarnation },
      ...(owner?.from === undefined ? {} : { from: owner.from }),
    };
  });
}
