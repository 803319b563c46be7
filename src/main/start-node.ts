/**
 * Puts one node together: bus, store, registry, edge, and the tree of actors.
 */
import { Dispatcher } from "../../actors/dispatcher.js";
import { defaultLaneLimits } from "../../actors/lane-limits.js";
import { defaultLimits, type Limits } from "../../actors/limits.js";
import type { NodeContext } from "../../actors/node-context.js";
import { readHolder, refuseLiveName } from "../../actors/node-lease.js";
import { spawnNode } from "../../actors/node-tree.js";
import { PlacementView } from "../../actors/placement-view.js";
import { nodeKey } from "../../topology/node-record.js";
import { randomToken } from "../base/random.js";
import { JwtTokens } from "../drivers/jwt-tokens.js";
import { KvAppDirectory } from "../drivers/kv-app-directory.js";
import { KvEdgeConditions } from "../drivers/kv-edge-conditions.js";
import { KvLaneDirectory } from "../drivers/kv-lane-directory.js";
import { NatsBus } from "../drivers/nats-bus.js";
import { connectNats, type NatsConnection, type NatsOptions } from "../drivers/nats-connection.js";
import { openEvents } from "../drivers/nats-events.js";
import { openKeyValue } from "../drivers/nats-key-value.js";
import { NatsLanes } from "../drivers/nats-lanes.js";
import type { Replicas } from "../drivers/nats-replicas.js";
import { pinoLog } from "../drivers/pino-log.js";
import { systemClock, systemRandom } from "../drivers/system-clock.js";
import { systemProcesses } from "../drivers/system-processes.js";
import { WebhookGate, webhookLimits } from "../drivers/webhook-gate.js";
import { WebhookTokens } from "../drivers/webhook-tokens.js";
import type { Log } from "../ports/log.js";
import { ActorSystem } from "../runtime/system.js";
import { checkNats } from "./check-nats.js";
import { demoPages } from "./demo-pages.js";
import { descriptorsMax, socketBudget } from "./descriptor-budget.js";
import { sendDispatch } from "./dispatch-page.js";
import { edgeAccess, edgeLimits } from "./edge-settings.js";
import type { HealthAnswer } from "./http.js";
import { clusterLeaseMsMin, leaseLimits } from "./lease-limits.js";
import { leaveEdge } from "./leave-edge.js";
import { openEdge } from "./open-edge.js";
import { openInboxStore } from "./open-inbox-store.js";
import { type Journalling, openJournal } from "./open-journal.js";
import type { Settings } from "./settings.js";
import { readSecretFile } from "./settings.js";
import { version } from "./version.js";

export interface RunningNode {
  readonly nodeId: string;
  /** As it is called now; see NodeContext. */
  readonly incarnation: string;
  readonly httpUrl: string;
  readonly edgeUrl: string;
  readonly system: ActorSystem;
  /** Resolves when everything accepted is written and the lease is given up. */
  stop(): Promise<void>;
}

const stopDeadlineMs = 20_000;

/** What a start was told and has decided, for each of its steps. */
interface Start {
  readonly nodeId: string;
  readonly incarnation: string;
  readonly settings: Settings;
  readonly limits: Limits;
  readonly socketsMax: number;
  readonly log: Log;
  readonly onFatal: (reason: string) => void;
}

/** Throws with one clear sentence when something it needs is not there. */
export async function startNode(
  settings: Settings,
  limitChanges: Partial<Limits> = {},
  onFatal: (reason: string) => void = () => undefined,
): Promise<RunningNode> {
  const nodeId = `${settings.idc}-${settings.name}`;
  const incarnation = randomToken(systemRandom, 8);
  const log = pinoLog(settings.logLevel, { node: nodeId });
  const connection = await connectNats(natsOptions(settings, nodeId, log));
  const leases = leaseLimits(settings, connection.isClustered);
  if (connection.isClustered && leases.leaseMs < clusterLeaseMsMin) {
    log.warn("the lease is shorter than an election of a cluster may take", { ...leases });
  }
  const { attemptSpacingMs = defaultLimits.attemptSpacingMs } = settings;
  const set = { attemptSpacingMs, ...edgeLimits(settings) };
  const wanted = { ...defaultLimits, ...leases, ...set, ...limitChanges };
  const { socketsMax, ...fitting } = socketBudget(wanted, descriptorsMax());
  const { connectionsMax } = fitting;
  if (connectionsMax < wanted.connectionsMax) {
    log.warn("fewer connections than wanted: the process may have too few descriptors", {
      ...{ connectionsMax, wanted: wanted.connectionsMax },
    });
  }
  const limits = { ...wanted, ...fitting };
  const start = { nodeId, incarnation, settings, limits, socketsMax, log, onFatal };
  try {
    return await startOn(connection, start);
  } catch (error) {
    await connection.close();
    throw error;
  }
}

async function startOn(connection: NatsConnection, start: Start): Promise<RunningNode> {
  const { nodeId, incarnation, settings, limits, socketsMax, log, onFatal } = start;
  const bus = new NatsBus(connection);
  await checkNats(connection, bus);
  const replicas: Replicas = {
    onFewer: (message) => log.warn(message),
    ...(settings.kvReplicas === undefined ? {} : { wanted: settings.kvReplicas }),
  };
  const placement = await openKeyValue(connection, "placement", replicas);
  const present = await placement.get(nodeKey(nodeId));
  const holder = present && readHolder(present);
  if (holder !== undefined) await refuseLiveName(bus, holder, limits.leaseMs);
  let context: NodeContext | undefined;
  const opened = await openInboxStore(settings, {
    nodeId,
    get incarnation() {
      return context?.incarnation ?? incarnation;
    },
    clock: systemClock,
    log,
  });
  const processes = await systemProcesses();
  const apps = await KvAppDirectory.follow(await openKeyValue(connection, "apps", replicas), log);
  const events = await openEvents(connection, replicas);
  const lanes = await startLanes(connection, replicas, log);
  const edgeConditions = await KvEdgeConditions.follow(placement, log);
  const signer = new JwtTokens(apps, systemClock, (error) => {
    log.error("a token could not be checked", {
      error: error instanceof Error ? error.stack : String(error),
    });
  });
  const gate = new WebhookGate(webhookLimits(limits.connectionsMax));
  const tokens = new WebhookTokens(apps, signer, { gate, log });
  const view = new PlacementView();
  const dispatcher = new Dispatcher({
    ...{ nodeId, idc: settings.idc, view, clock: systemClock, limits },
  });
  const edge = await openEdge(settings, limits, log, {
    health: () => healthOf(view),
    dispatch: (search, request, response) =>
      sendDispatch(dispatcher, settings.idc, search, request, response),
    ...(settings.demo ? { pages: demoPages(apps, signer) } : {}),
    socketsMax,
  });
  const { transport, httpUrl, edgeUrl, edgeUrls } = edge;
  const journal = openJournal(settings, nodeId, connection);
  const outside = {
    ...{ bus, placement, apps, events, lanes, tokens, transport, processes, store: opened.store },
    ...{ ...journal, edgeConditions, edgeAccess: edgeAccess(settings) },
  };
  context = contextOf(start, { ...outside, view, edgeUrl, edgeUrls });
  const system = startActors(context, onFatal);
  log.info("node started", { incarnation, httpUrl, edgeUrl, pid: process.pid });
  const stop = async () => {
    if (context !== undefined) await leaveEdge(system, context);
    await stopNode(system, [edge, apps, tokens, lanes.directory, edgeConditions], connection, log);
    await opened.close();
  };
  return {
    nodeId,
    get incarnation() {
      return context?.incarnation ?? incarnation;
    },
    httpUrl,
    edgeUrl,
    system,
    stop,
  };
}

async function startLanes(connection: NatsConnection, replicas: Replicas, log: Log) {
  const queues = await NatsLanes.open(connection, replicas);
  const bucket = await openKeyValue(connection, "lanes", replicas);
  const directory = await KvLaneDirectory.follow(bucket, queues, log);
  return { queues, directory, bucket, limits: defaultLaneLimits };
}

/** As `GET /healthz` tells it. One group that cannot be served makes no node unhealthy. */
function healthOf(view: PlacementView): HealthAnswer {
  const { unwell, cannotServe } = view.health;
  if (!view.isLeaseHeld(systemClock.monotonicMs())) return { isHealthy: false, text: "no lease" };
  if (unwell !== undefined) return { isHealthy: false, text: `unwell: ${unwell}` };
  const but = cannotServe.length === 0 ? "" : `, but cannot serve groups ${cannotServe.join(", ")}`;
  return { isHealthy: true, text: `ok${but}` };
}

type Outside = Pick<
  NodeContext,
  | "bus"
  | "placement"
  | "apps"
  | "events"
  | "lanes"
  | "tokens"
  | "transport"
  | "edgeAccess"
  | "edgeConditions"
  | "processes"
  | "store"
  | "view"
  | "edgeUrl"
  | "edgeUrls"
> &
  Journalling;

/** The one that all actors of the node share: its incarnation changes while it runs. */
function contextOf(
  { nodeId, incarnation, settings, limits, log, onFatal }: Start,
  outside: Outside,
): NodeContext {
  const { idc, idcNumber } = settings;
  return {
    ...outside,
    nodeId,
    incarnation,
    idc,
    idcNumber,
    version,
    clock: systemClock,
    random: systemRandom,
    limits,
    log,
    giveUp: onFatal,
  };
}

function startActors(context: NodeContext, onFatal: (reason: string) => void): ActorSystem {
  const { nodeId, incarnation, clock, random, bus, log } = context;
  const system = new ActorSystem({
    nodeId,
    incarnation,
    clock,
    random,
    bus,
    onCrash: (report) => {
      log.error("actor crashed", { ...report });
      if (report.fatal) onFatal(`${report.address} failed too often: ${report.error}`);
    },
    // What comes for actors that are stopping is no news; elsewhere it may be a bug.
    onDeadLetter: (letter) =>
      letter.reason === "stopped"
        ? log.debug("dead letter", { ...letter })
        : log.info("dead letter", { ...letter }),
  });
  spawnNode(system, context);
  return system;
}

async function stopNode(
  system: ActorSystem,
  opened: readonly { close(): void }[],
  connection: NatsConnection,
  log: Log,
): Promise<void> {
  await system.stop(stopDeadlineMs);
  for (const each of opened) each.close();
  await connection.close();
  log.info("node stopped");
}

function natsOptions(settings: Settings, nodeId: string, log: Log): NatsOptions {
  const password = readSecretFile(settings.natsPasswordFile);
  return {
    url: settings.natsUrl,
    name: `belfry ${nodeId}`,
    // Who starts nodes starts them again, and is to read at once what is missing.
    firstConnectMs: 0,
    ...(settings.natsUser === undefined ? {} : { user: settings.natsUser }),
    ...(password === undefined ? {} : { password }),
    ...(settings.natsInboxPrefix === undefined ? {} : { inboxPrefix: settings.natsInboxPrefix }),
    onStatus: (status: string, detail?: string) =>
      status === "closed" ? log.info("bus", { status }) : log.warn("bus", { status, detail }),
  };
}
