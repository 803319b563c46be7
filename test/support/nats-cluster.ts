/**
 * Three (or so) disposable nats-servers that form one JetStream cluster, each on free ports of
 * 127.0.0.1 and in a folder of its own, with the users of nats.conf.
 *
 *   await using cluster = await startNatsCluster({ apps: ["demo"] });
 *   const leader = await cluster.streamLeader("KV_placement");
 *   leader.kill("SIGKILL");
 *
 * Resolves when all replicate: a stream with a replica on each could be made.
 */
import { copyFileSync, mkdirSync, rmSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { jetstreamManager, StorageType } from "@nats-io/jetstream";
import { connect } from "@nats-io/transport-node";
import { NatsConnection } from "../../src/drivers/nats-connection.js";
import { ensureSecrets } from "../../src/main/setup/nats-secrets.js";
import { PrivateNats } from "../../src/main/setup/private-nats.js";
import type { NatsServers } from "./nats-server.js";
import { until } from "./until.js";

export interface NatsClusterOptions {
  readonly apps?: readonly string[];
  /** Kept at the end; without it a temporary one is made and removed. */
  readonly folder?: string;
  /** Servers; three unless told otherwise. */
  readonly size?: number;
}

export interface NatsMember {
  readonly name: string;
  /** Of the process that runs now; another one after a restart. */
  readonly pid: number;
  readonly url: string;
  readonly port: number;
  kill(signal: NodeJS.Signals): void;
  /** Resolves when the process is gone. */
  readonly ended: Promise<void>;
  /** Same ports, same data; starts it also when it was killed. */
  restart(): Promise<void>;
}

/** Takes the place of a single server in a platform: its `url` names all three. */
export interface NatsCluster extends NatsServers {
  readonly members: readonly NatsMember[];
  /** A connection as `node` to one member and no other. */
  connectTo(member: NatsMember): Promise<NatsConnection>;
  /** The member that leads the stream, as a member that lives says. */
  streamLeader(stream: string): Promise<NatsMember>;
  /** Resolves when each member takes part again: it could make a stream on all. */
  untilReplicating(): Promise<void>;
  /** Adds apps while it runs, on one member after the other. */
  addApps(apps: readonly string[]): Promise<void>;
}

const sizeDefault = 3;
const secretsFile = "secrets.json";
const formedDeadlineMs = 60_000;
const connectMsMax = 20_000;
const startTries = 3;

/** A port for routes that was free may be somebody else's a moment later: then with others. */
export async function startNatsCluster(options: NatsClusterOptions = {}): Promise<NatsCluster> {
  for (let tries = 1; ; tries++) {
    try {
      return await startOnce(options);
    } catch (error) {
      if (tries === startTries) throw error;
    }
  }
}

async function startOnce(options: NatsClusterOptions): Promise<NatsCluster> {
  const folder = options.folder ?? (await mkdtemp(join(tmpdir(), "belfry-test-cluster-")));
  const remove = () => {
    if (options.folder === undefined) rmSync(folder, { recursive: true, force: true });
  };
  process.once("exit", remove);
  const size = options.size ?? sizeDefault;
  const servers = await startServers(folder, size, options.apps ?? []);
  const members = servers.map(asMember);
  const first = servers[0] as PrivateNats;
  const { user, pass, inboxPrefix } = first.credentials("node");
  const connectTo = async ({ url }: NatsMember, timeout = connectMsMax) => {
    const login = { user, pass, inboxPrefix, timeout };
    const patience = { maxReconnectAttempts: -1, reconnectTimeWait: 100 };
    // Else it goes to another member when this one ends.
    const client = await connect({
      servers: url,
      ...login,
      ...patience,
      ignoreClusterUpdates: true,
    });
    return new NatsConnection(client, undefined, inboxPrefix);
  };
  const stop = async () => {
    await Promise.all(servers.map((server) => server.stop()));
    process.off("exit", remove);
    if (options.folder === undefined) await rm(folder, { recursive: true, force: true });
  };
  const untilReplicating = async () => {
    for (const member of members) await untilMember(member, size, connectTo);
  };
  try {
    await untilReplicating();
  } catch (error) {
    await stop();
    throw error;
  }
  return {
    url: members.map(({ url }) => url).join(","),
    folder,
    members,
    get pids() {
      return members.map(({ pid }) => pid);
    },
    credentials: {
      node: first.credentials("node"),
      operator: first.credentials("operator-test"),
      app: (name) => first.credentials(`app-${name}`),
      user: (name) => first.credentials(name),
    },
    connectTo,
    streamLeader: (stream) => streamLeader(members, connectTo, stream),
    untilReplicating,
    addApps: async (apps) => {
      const wanted = { operators: [], apps };
      await ensureSecrets(join(folder, secretsFile), wanted);
      for (const server of servers) {
        copyFileSync(join(folder, secretsFile), join(server.folder, secretsFile));
        await server.addUsers(wanted);
      }
    },
    kill: (signal) => {
      for (const server of servers) server.kill(signal);
    },
    restart: async () => {
      await Promise.all(servers.map((server) => server.restart()));
      await untilReplicating();
    },
    stop,
    [Symbol.asyncDispose]: stop,
  };
}

async function startServers(
  folder: string,
  size: number,
  apps: readonly string[],
): Promise<PrivateNats[]> {
  const routePorts = await freePorts(size);
  const users = { operators: ["test"], apps };
  await ensureSecrets(join(folder, secretsFile), users);
  return Promise.all(
    routePorts.map((routePort, at) => {
      const own = join(folder, memberName(at));
      mkdirSync(own, { recursive: true });
      // One set of passwords for all.
      copyFileSync(join(folder, secretsFile), join(own, secretsFile));
      return PrivateNats.start({
        folder: own,
        ...users,
        cluster: {
          clusterName: "belfry-test",
          serverName: memberName(at),
          routePort,
          otherRoutePorts: routePorts.filter((port) => port !== routePort),
        },
      });
    }),
  );
}

function memberName(at: number): string {
  return `n${at + 1}`;
}

function asMember(server: PrivateNats, at: number): NatsMember {
  return {
    name: memberName(at),
    url: server.url,
    port: server.port,
    get pid() {
      return server.pid;
    },
    kill: (signal) => server.kill(signal),
    get ended() {
      return server.ended;
    },
    restart: () => server.restart(),
  };
}

type ConnectTo = (member: NatsMember, timeoutMs?: number) => Promise<NatsConnection>;

/** A stream of three replicas needs the meta leader, and all members known to it. */
async function untilMember(member: NatsMember, size: number, connectTo: ConnectTo): Promise<void> {
  const connection = await connectTo(member);
  try {
    const probe = { name: `probe-${member.name}`, subjects: [`$KV.probe.${member.name}`] };
    const config = { ...probe, num_replicas: size, storage: StorageType.Memory };
    await until(
      `${member.name} replicates to all`,
      async () => {
        try {
          const jsm = await jetstreamManager(connection.client, { timeout: 2_000 });
          await jsm.streams.add(config);
          return await jsm.streams.delete(probe.name);
        } catch {
          return undefined;
        }
      },
      formedDeadlineMs,
    );
  } finally {
    await connection.close();
  }
}

async function streamLeader(
  members: readonly NatsMember[],
  connectTo: ConnectTo,
  stream: string,
): Promise<NatsMember> {
  return until(`${stream} has a leader`, async () => {
    for (const member of members) {
      const name = await leaderAsTold(member, connectTo, stream);
      const leader = members.find((each) => each.name === name);
      if (leader !== undefined) return leader;
    }
    return undefined;
  });
}

async function leaderAsTold(member: NatsMember, connectTo: ConnectTo, stream: string) {
  let connection: NatsConnection;
  try {
    // One that is stopped takes no connection, and another one tells.
    connection = await connectTo(member, 2_000);
  } catch {
    return undefined;
  }
  try {
    const jsm = await jetstreamManager(connection.client, { timeout: 1_000 });
    return (await jsm.streams.info(stream)).cluster?.leader;
  } catch {
    return undefined;
  } finally {
    await connection.close();
  }
}

/** Held all at once, so that no two are the same. */
export async function freePorts(count: number): Promise<number[]> {
  const servers = Array.from({ length: count }, () => createServer());
  const ports = await Promise.all(
    servers.map(
      (server) =>
        new Promise<number>((resolve, reject) => {
          server.once("error", reject);
          server.listen(0, "127.0.0.1", () => {
            const address = server.address();
            resolve(typeof address === "object" && address !== null ? address.port : 0);
          });
        }),
    ),
  );
  await Promise.all(servers.map((server) => new Promise((done) => server.close(done))));
  return ports;
}
