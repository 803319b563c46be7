/**
 * A disposable nats-server for one test file: the one that `make run` starts,
 * with the same nats.conf, on a free port of 127.0.0.1 and in a folder of its own.
 *
 *   await using nats = await startNats({ apps: ["demo"] });
 *
 * It is gone, with its folder, when the test disposes or stops it, and also when
 * the test's process ends in any other way.
 */
import { rmSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type NatsCredentials, PrivateNats } from "../../src/main/setup/private-nats.js";

export interface NatsFixtureOptions {
  /** Kept at the end; without it a temporary one is made and removed. */
  readonly folder?: string;
  /** Each gets its NATS user. */
  readonly apps?: readonly string[];
  readonly operators?: readonly string[];
  readonly port?: number;
}

/** One server or several: what a platform needs of either. */
export interface NatsServers extends AsyncDisposable {
  /** Of several, with commas between. */
  readonly url: string;
  readonly folder: string;
  readonly credentials: {
    readonly node: NatsCredentials;
    /** The first of the operators. */
    readonly operator: NatsCredentials;
    app(name: string): NatsCredentials;
    user(name: string): NatsCredentials;
  };
  /** Of the processes that run now; others after a restart. */
  readonly pids: readonly number[];
  kill(signal: NodeJS.Signals): void;
  /** Same port, same data; starts it also when it was killed. */
  restart(): Promise<void>;
  stop(): Promise<void>;
}

export interface NatsFixture extends NatsServers {
  readonly port: number;
  /** Of the process that runs now; another one after a restart. */
  readonly pid: number;
  /** Adds apps while it runs. */
  addApps(apps: readonly string[]): Promise<void>;
}

/** Resolves when the server greets; rejects with what to install when there is none. */
export async function startNats(options: NatsFixtureOptions = {}): Promise<NatsFixture> {
  const folder = options.folder ?? (await mkdtemp(join(tmpdir(), "belfry-test-nats-")));
  const remove = () => {
    if (options.folder === undefined) rmSync(folder, { recursive: true, force: true });
  };
  process.once("exit", remove);
  const operators = options.operators ?? ["test"];
  const server = await PrivateNats.start({
    folder,
    operators,
    apps: options.apps ?? [],
    ...(options.port === undefined ? {} : { port: options.port }),
  });
  const stop = async () => {
    await server.stop();
    process.off("exit", remove);
    if (options.folder === undefined) await rm(folder, { recursive: true, force: true });
  };
  return {
    url: server.url,
    port: server.port,
    folder,
    get pid() {
      return server.pid;
    },
    get pids() {
      return [server.pid];
    },
    credentials: {
      node: server.credentials("node"),
      operator: server.credentials(`operator-${operators[0]}`),
      app: (name) => server.credentials(`app-${name}`),
      user: (name) => server.credentials(name),
    },
    addApps: (apps) => server.addUsers({ operators: [], apps }),
    kill: (signal) => server.kill(signal),
    restart: () => server.restart(),
    stop,
    [Symbol.asyncDispose]: stop,
  };
}
