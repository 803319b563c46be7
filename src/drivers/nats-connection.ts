/**
 * The one connection of a process to its NATS server, or to one of its cluster's;
 * reconnects for ever.
 *
 * The client would queue what is published while the server is away, without a
 * bound, and throw it away at its next attempt to dial (nats-core 3.4
 * protocol.js, sendCommand and prepare). So here it is dropped at once and counted,
 * which at most once allows; subscriptions are kept and sent again by the client.
 */

import type { Socket } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import {
  AuthorizationError,
  type NatsConnection as Client,
  connect,
} from "@nats-io/transport-node";
import { fullJitterMs } from "../base/random.js";
import { Fault } from "../base/result.js";
import { systemRandom } from "./system-clock.js";

export interface NatsOptions {
  /** Of one server, or of several with commas between: any that takes the client in. */
  readonly url: string;
  /** Shown in the server's monitoring. */
  readonly name: string;
  readonly user?: string;
  readonly password?: string;
  /** What the user may subscribe for answers; the client's default is granted to nobody. */
  readonly inboxPrefix?: string;
  /** How long the first connection is tried for; 0 is once. */
  readonly firstConnectMs?: number;
  readonly onStatus?: (status: NatsStatus, detail?: string) => void;
}

/** `refused`: the server denied a publish or a subscription, `detail` says which. */
export type NatsStatus = "disconnected" | "reconnected" | "closed" | "refused";

/** Below 2.9.21 compare-and-set is racy on clustered streams; 2.10 is what is tested. */
const versionMin = [2, 10] as const;
const firstConnectMsDefault = 10_000;
/** A server that takes the socket and says nothing is given up for the next one. */
const dialMs = 3_000;
const retryBaseMs = 50;
const retryCapMs = 1_000;
/**
 * A server that is paused, or out of reach without a word, is noticed at the third of
 * these without a pong: after 2 to 3 s. With a dial that fails and one that does not it
 * stays below half of a cluster's lease of 15 s, and a renewal fits into the rest. A
 * process that was itself paused reads the pongs that wait before its next ping.
 */
const pingMs = 1_000;
const pingsUnansweredMax = 2;
/** What a stale socket's last bytes get; to a peer that is gone they never leave. */
const staleGraceMs = 200;

export class NatsConnection {
  /** Publishes while the server was away. */
  droppedPublishes = 0;
  private isUp = true;
  private readonly watchers = new Set<() => void>();
  /** How to end what waits for an answer when the connection goes. */
  private readonly waiting = new Set<(fault: Fault) => void>();

  constructor(
    readonly client: Client,
    private readonly onStatus: (status: NatsStatus, detail?: string) => void = () => undefined,
    /** What answers to this client are sent to. */
    readonly inboxPrefix?: string,
  ) {
    this.info = client.info;
    void this.follow();
  }

  /** What the server last said; the client forgets it while it is away. */
  private info: Client["info"];

  get isConnected(): boolean {
    return this.isUp && !this.client.isClosed();
  }

  /** Bytes. */
  get payloadMax(): number {
    this.info = this.client.info ?? this.info;
    return this.info?.max_payload ?? 1024 * 1024;
  }

  /** One of several servers, by what it says of itself. */
  get isClustered(): boolean {
    this.info = this.client.info ?? this.info;
    return this.info?.cluster !== undefined;
  }

  get hasJetStream(): boolean {
    this.info = this.client.info ?? this.info;
    return this.info?.jetstream === true;
  }

  /** Calls `onReturn` after each reconnect until the returned function is called. */
  watchReturns(onReturn: () => void): () => void {
    this.watchers.add(onReturn);
    return () => void this.watchers.delete(onReturn);
  }

  /**
   * What `start` gives, unless the connection goes first: the client would let it run
   * into its deadline, but the answer can no longer come.
   * Throws Fault("DISCONNECTED"), "not-done" when nothing was started.
   */
  whileConnected<Value>(start: () => Promise<Value>): Promise<Value> {
    if (!this.isConnected) return Promise.reject(disconnected("not-done"));
    return new Promise((resolve, reject) => {
      this.waiting.add(reject);
      start()
        .finally(() => this.waiting.delete(reject))
        .then(resolve, reject);
    });
  }

  /** Lets what was published go out first when the server is there. */
  async close(): Promise<void> {
    if (this.isConnected) await this.client.drain().catch(() => this.client.close());
    else await this.client.close();
  }

  private async follow(): Promise<void> {
    for await (const status of this.client.status()) {
      if (status.type === "disconnect" && this.isUp) this.onDown("disconnected");
      else if (status.type === "reconnect" && !this.isUp) this.onUp();
      else if (status.type === "error") this.onStatus("refused", status.error.message);
      else if (status.type === "staleConnection") this.onStale();
    }
    this.onDown("closed");
  }

  /**
   * The client ends a stale socket only when its last write has left (transport-node 3.3
   * node_transport.js, _closed), which behind a full send buffer is when the kernel gives
   * the peer up: a quarter of an hour. Nobody is told and nothing is dialled before that.
   */
  private onStale(): void {
    const { socket } = (this.client as unknown as ClientInside).protocol.transport;
    const end = setTimeout(() => socket?.destroy(), staleGraceMs);
    socket?.once("close", () => clearTimeout(end));
  }

  private onDown(status: "disconnected" | "closed"): void {
    this.isUp = false;
    for (const end of [...this.waiting]) end(disconnected("unknown"));
    this.onStatus(status);
  }

  private onUp(): void {
    this.isUp = true;
    for (const onReturn of [...this.watchers]) onReturn();
    this.onStatus("reconnected");
  }
}

/** What the client keeps to itself, and gives no other way to. */
interface ClientInside {
  readonly protocol: { readonly transport: { readonly socket?: Socket } };
}

function disconnected(outcome: "not-done" | "unknown"): Fault {
  return new Fault("DISCONNECTED", outcome, "the connection to NATS is gone");
}

/** Throws Fault("NATS_UNREACHABLE" | "NATS_UNFIT", "not-done"). */
export async function connectNats(options: NatsOptions): Promise<NatsConnection> {
  const client = await dialUntil(options);
  const version = client.info?.version ?? "0.0";
  if (!isNewEnough(version)) {
    await client.close();
    const message = `nats-server ${version} is too old: ${versionMin.join(".")} or newer is needed`;
    throw new Fault("NATS_UNFIT", "not-done", message);
  }
  return new NatsConnection(client, options.onStatus, options.inboxPrefix);
}

/** The client's own wait for a first connection has no end and cannot be cancelled. */
async function dialUntil(options: NatsOptions): Promise<Client> {
  const deadlineMs = performance.now() + (options.firstConnectMs ?? firstConnectMsDefault);
  for (let attempt = 0; ; attempt++) {
    try {
      return await dial(options);
    } catch (cause) {
      const waitMs = fullJitterMs(systemRandom, attempt, retryBaseMs, retryCapMs);
      const isFinal = cause instanceof AuthorizationError;
      if (isFinal || performance.now() + waitMs > deadlineMs)
        throw unreachableFault(options, cause);
      await delay(waitMs);
    }
  }
}

function dial({ url, name, user, password, inboxPrefix }: NatsOptions): Promise<Client> {
  return connect({
    servers: url.split(",").map((server) => server.trim()),
    name,
    timeout: dialMs,
    maxReconnectAttempts: -1,
    // A user that is being rotated is refused for a while; giving up would be for ever.
    ignoreAuthErrorAbort: true,
    reconnectDelayHandler: () => fullJitterMs(systemRandom, 1, 150, 300) + 20,
    pingInterval: pingMs,
    maxPingOut: pingsUnansweredMax,
    // Without it each request makes an Error for its stack.
    noAsyncTraces: true,
    ...(user === undefined ? {} : { user }),
    ...(password === undefined ? {} : { pass: password }),
    ...(inboxPrefix === undefined ? {} : { inboxPrefix }),
  });
}

function unreachableFault({ url, user }: NatsOptions, cause: unknown): Fault {
  const as = user === undefined ? "" : ` as ${user}`;
  const message = `no NATS server took us in at ${url}${as}: ${(cause as Error).message}`;
  return new Fault("NATS_UNREACHABLE", "not-done", message, { cause });
}

function isNewEnough(version: string): boolean {
  const [major = 0, minor = 0] = version.split(".").map((part) => Number.parseInt(part, 10));
  return major > versionMin[0] || (major === versionMin[0] && minor >= versionMin[1]);
}
