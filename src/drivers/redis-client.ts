/**
 * The way to Redis for a cache: nothing waits for it. A call fails at once while there
 * is no connection, within its deadline when Redis does not answer, and without being
 * sent when too much is on its way or the circuit is open.
 */
import { BrokenCircuitError, ConsecutiveBreaker, circuitBreaker, handleAll } from "cockatiel";
import { Cluster, Redis } from "ioredis";
import {
  advanceScript,
  fillScript,
  loadScript,
  readScript,
  takeOverScript,
} from "./redis-scripts.js";

export interface RedisPlace {
  readonly host: string;
  readonly port: number;
  readonly user?: string;
  readonly password?: string;
  /** Reached through the place above, which is one of its nodes. */
  readonly isCluster?: boolean;
  readonly tls?: { readonly ca?: string; readonly servername?: string };
  /** What is not answered within it is read from MySQL; 250 ms unless given. */
  readonly deadlineMs?: number;
}

const scripts = {
  takeOver: takeOverScript,
  load: loadScript,
  read: readScript,
  fill: fillScript,
  advance: advanceScript,
} as const;

export type ScriptName = keyof typeof scripts;
export type ScriptArgument = string | number | Buffer;

type Call = (...values: readonly ScriptArgument[]) => Promise<unknown>;

/** A call was not made, or not answered in time; Redis may or may not have run it. */
export class RedisUnavailable extends Error {
  override readonly name = "RedisUnavailable";
}

const defaultDeadlineMs = 250;
const connectDeadlineMs = 2_000;
const failuresToOpen = 5;
const halfOpenAfterMs = 1_000;
const retryMaxMs = 2_000;
/** On their way at once: a node that opens all shards takes over 4,096 copies in one go. */
const callsMax = 16_384;
const bytesMax = 32 * 1024 * 1024;

export class RedisClient {
  private readonly client: Redis | Cluster;
  private readonly calls: Readonly<Record<ScriptName, Call>>;
  private readonly breaker = circuitBreaker(handleAll, {
    halfOpenAfter: halfOpenAfterMs,
    breaker: new ConsecutiveBreaker(failuresToOpen),
  });
  private callsUnderWay = 0;
  private bytesUnderWay = 0;
  /** Calls that Redis failed or did not answer in time. */
  failures = 0;
  /** Calls that were not made, because too many had failed. */
  refusals = 0;

  /** `onProblem` is told what ioredis reports; nothing has to be done about it. */
  constructor(
    readonly place: RedisPlace,
    onProblem: (message: string) => void,
  ) {
    this.client = place.isCluster ? clusterClient(place) : singleClient(place);
    this.client.on("error", (error: Error) => onProblem(error.message));
    this.calls = defineScripts(this.client);
    // Its failure is an "error" event, and it is tried again by itself.
    this.client.connect().catch(() => undefined);
  }

  get isReady(): boolean {
    return this.client.status === "ready";
  }

  /** Throws RedisUnavailable. Calls for one shard reach Redis in the order of these calls. */
  async run(
    name: ScriptName,
    keys: readonly string[],
    values: readonly ScriptArgument[],
    bytes: number,
  ): Promise<unknown> {
    if (!this.isReady) throw new RedisUnavailable("there is no connection to Redis");
    if (this.callsUnderWay >= callsMax || this.bytesUnderWay + bytes > bytesMax) {
      throw new RedisUnavailable("too much is on its way to Redis");
    }
    this.callsUnderWay++;
    this.bytesUnderWay += bytes;
    try {
      return await this.breaker.execute(() => this.calls[name](keys.length, ...keys, ...values));
    } catch (cause) {
      if (cause instanceof BrokenCircuitError) this.refusals++;
      else this.failures++;
      throw new RedisUnavailable(`Redis: ${(cause as Error).message}`, { cause });
    } finally {
      this.callsUnderWay--;
      this.bytesUnderWay -= bytes;
    }
  }

  close(): void {
    this.client.disconnect();
  }
}

function commonOptions({ user, password, tls, deadlineMs }: RedisPlace) {
  return {
    ...(user === undefined ? {} : { username: user }),
    ...(password === undefined ? {} : { password }),
    ...(tls === undefined ? {} : { tls: { ...tls, rejectUnauthorized: true } }),
    commandTimeout: deadlineMs ?? defaultDeadlineMs,
    connectTimeout: connectDeadlineMs,
    // What was not answered is void, and nothing may be sent a second time, out of order.
    maxRetriesPerRequest: 0,
    autoResendUnfulfilledCommands: false,
    // After a failover the address leads to another node.
    reconnectOnError: (error: Error) => error.message.startsWith("READONLY"),
    replyMapping: "legacy" as const,
  };
}

function retryStrategy(times: number): number {
  return Math.min(50 * 2 ** times, retryMaxMs);
}

function singleClient(place: RedisPlace): Redis {
  const { host, port } = place;
  const waiting = { lazyConnect: true, enableOfflineQueue: false, retryStrategy };
  return new Redis({ ...commonOptions(place), ...waiting, host, port });
}

function clusterClient(place: RedisPlace): Cluster {
  const { host, port } = place;
  return new Cluster([{ host, port }], {
    redisOptions: commonOptions(place),
    lazyConnect: true,
    enableOfflineQueue: false,
    clusterRetryStrategy: retryStrategy,
  });
}

function defineScripts(client: Redis | Cluster): Readonly<Record<ScriptName, Call>> {
  const calls = {} as Record<ScriptName, Call>;
  for (const name of Object.keys(scripts) as ScriptName[]) {
    const command = `belfry${name}`;
    client.defineCommand(command, { lua: scripts[name] });
    const defined = client as unknown as Readonly<Record<string, Call>>;
    const call = defined[`${command}Buffer`] as Call;
    calls[name] = (...values) => call.apply(client, values as ScriptArgument[]);
  }
  return calls;
}
