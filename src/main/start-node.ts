/**
 * Puts one node together: bus, store, registry, edge, and the tree of actors.
 *
 *   membership · placement · shards (→ groups → shards → sessions) · edge (→ connections) · desk
 *
 * Roots stop in the reverse order: sockets are told to go, what is accepted is
 * written, and the lease is given up last.
 */
import type { Server } from "node:http";
import { Edge } from "../../actors/edge.js";
import { defaultLimits, type Limits } from "../../actors/limits.js";
import { Membership } from "../../actors/membership.js";
import type { NodeContext } from "../../actors/node-context.js";
import { OperatorDesk } from "../../actors/operator-desk.js";
import { Placement } from "../../actors/placement.js";
import { PlacementView } from "../../actors/placement-view.js";
import { ShardHost } from "../../actors/shard-host.js";
import { decodeNodeRecord, nodeKey } from "../../topology/node-record.js";
import { randomToken } from "../base/random.js";
import { Fault } from "../base/result.js";
import { JwtTokens } from "../drivers/jwt-tokens.js";
import { KvAppDirectory } from "../drivers/kv-app-directory.js";
import { LmdbInbox } from "../drivers/lmdb-inbox.js";
import { NatsBus } from "../drivers/nats-bus.js";
import { connectNats, type NatsConnection } from "../drivers/nats-connection.js";
import { openKeyValue } from "../drivers/nats-key-value.js";
import { pinoLog } from "../drivers/pino-log.js";
import { systemClock, systemRandom } from "../drivers/system-clock.js";
import { systemProcesses } from "../drivers/system-processes.js";
import { WsEdge } from "../drivers/ws-edge.js";
import type { AppDirectory } from "../ports/app-directory.js";
import type { KeyValue } from "../ports/key-value.js";
import type { Log } from "../ports/log.js";
import { pingSubject } from "../protocol/subjects.js";
import type { Bus } from "../runtime/ports.js";
import { ActorSystem } from "../runtime/system.js";
import { checkNats } from "./check-nats.js";
import { createHttpServer } from "./http.js";
import type { Settings } from "./settings.js";
import { readSecretFile } from "./settings.js";
import { version } from "./version.js";

export interface RunningNode {
  readonly nodeId: string;
  readonly incarnation: string;
  readonly httpUrl: string;
  readonly edgeUrl: string;
  readonly system: ActorSystem;
  /** Resolves when everything accepted is written and the lease is given up. */
  stop(): Promise<void>;
}

const stopDeadlineMs = 20_000;
const connectPath = "/connect";

/** Throws with one clear sentence when something it needs is not there. */
export async function startNode(
  settings: Settings,
  limitChanges: Partial<Limits> = {},
  onFatal: (reason: string) => void = () => undefined,
): Promise<RunningNode> {
  const limits = { ...defaultLimits, ...limitChanges };
  const nodeId = `${settings.idc}-${settings.name}`;
  const incarnation = randomToken(systemRandom, 8);
  const log = pinoLog(settings.logLevel, { node: nodeId });
  const connection = await connectNats(natsOptions(settings, nodeId, log));
  const bus = new NatsBus(connection);
  await checkNats(connection, bus);
  const placement = await openKeyValue(connection, "placement");
  await refuseLiveName(placement, bus, nodeId);
  const apps = await KvAppDirectory.follow(await openKeyValue(connection, "apps"), log);
  const tokens = new JwtTokens(apps);
  const view = new PlacementView();
  const server = createHttpServer({
    isDemo: settings.demo,
    demo: () => ({ apps, signer: tokens }),
    isHealthy: () => view.isLeaseHeld(systemClock.monotonicMs()),
  });
  const port = await listen(server, settings.host, settings.port);
  const httpUrl = `http://${settings.host}:${port}`;
  const context: NodeContext = {
    nodeId,
    incarnation,
    idc: settings.idc,
    idcNumber: settings.idcNumber,
    version,
    processes: await systemProcesses(),
    edgeUrl: settings.edgeUrl ?? `ws://${settings.host}:${port}${connectPath}`,
    clock: systemClock,
    random: systemRandom,
    bus,
    store: new LmdbInbox({
      dataFolder: settings.dataFolder,
      nodeId,
      incarnation,
      clock: systemClock,
    }),
    placement,
    apps: apps satisfies AppDirectory,
    tokens,
    transport: new WsEdge({ server, path: connectPath, closeDeadlineMs: limits.closeDeadlineMs }),
    limits,
    log,
    view,
    giveUp: onFatal,
  };
  const system = startActors(context, onFatal);
  log.info("node started", { incarnation, httpUrl, edgeUrl: context.edgeUrl, pid: process.pid });
  return {
    nodeId,
    incarnation,
    httpUrl,
    edgeUrl: context.edgeUrl,
    system,
    stop: () => stopNode(system, server, connection, log),
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
    onDeadLetter: (letter) => log.warn("dead letter", { ...letter }),
  });
  system.spawnRoot("membership", () => new Membership(context));
  system.spawnRoot("placement", () => new Placement(context));
  system.spawnRoot("shards", () => new ShardHost(context));
  system.spawnRoot("edge", () => new Edge(context));
  system.spawnRoot("desk", () => new OperatorDesk(context, () => system));
  return system;
}

async function stopNode(
  system: ActorSystem,
  server: Server,
  connection: NatsConnection,
  log: Log,
): Promise<void> {
  await system.stop(stopDeadlineMs);
  server.close();
  server.closeAllConnections();
  await connection.close();
  log.info("node stopped");
}

function natsOptions(settings: Settings, nodeId: string, log: Log) {
  const password = readSecretFile(settings.natsPasswordFile);
  return {
    url: settings.natsUrl,
    name: `belfry ${nodeId}`,
    ...(settings.natsUser === undefined ? {} : { user: settings.natsUser }),
    ...(password === undefined ? {} : { password }),
    ...(settings.natsInboxPrefix === undefined ? {} : { inboxPrefix: settings.natsInboxPrefix }),
    onStatus: (status: string) => log.warn("bus", { status }),
  };
}

/** Two processes under one name would answer for one another. */
async function refuseLiveName(placement: KeyValue, bus: Bus, nodeId: string): Promise<void> {
  const present = await placement.get(nodeKey(nodeId));
  const holder = present === undefined ? undefined : decodeNodeRecord(present.value);
  if (holder === undefined) return;
  try {
    await bus.request(
      pingSubject(holder.nodeId, holder.incarnation),
      new Uint8Array(0),
      holder.leaseMs,
    );
  } catch (cause) {
    if (cause instanceof Fault) return;
    throw cause;
  }
  throw new Fault(
    "NAME_TAKEN",
    "not-done",
    `a node named ${nodeId} is running already (pid ${holder.pid}); give this one another name`,
  );
}

function listen(server: Server, host: string, port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen({ host, port, backlog: 4_096 }, () => {
      server.off("error", reject);
      const address = server.address();
      resolve(typeof address === "object" && address !== null ? address.port : port);
    });
  });
}
