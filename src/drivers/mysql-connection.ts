/**
 * One connection to MySQL or MariaDB that never waits longer than it was told and
 * always says what became of a packet of statements.
 *
 *   open ──a deadline passes, the server is lost──▶ destroyed (its socket too, at once)
 *     └──end──▶ ended
 *
 * mysql2's own `destroy` only half-closes the socket, and a paused server would keep
 * the other half; so the socket is made here and ended here.
 */
import { createConnection as connectSocket, type Socket } from "node:net";
import mysql from "mysql2";
import { Fault } from "../base/result.js";
import { packet, type Sql, sql } from "./mysql-text.js";

export interface MysqlPlace {
  readonly host: string;
  readonly port: number;
  readonly user: string;
  readonly password?: string;
  readonly database: string;
  /** PEM of who signed the server's certificate; without it the system's own are trusted. */
  readonly tls?: { readonly ca?: string; readonly servername?: string };
}

export type Row = readonly (number | Buffer | null)[];

/** The server refused a statement, those before it in the packet took effect. */
export class StatementRefused extends Error {
  override readonly name = "StatementRefused";

  constructor(
    /** The server's number of the error, such as 1213 of a deadlock's victim. */
    readonly errno: number,
    /** Statements of the packet that were carried out before it. */
    readonly doneCount: number,
    message: string,
  ) {
    super(message);
  }
}

/** No answer came: the server or the way to it is lost, and the connection destroyed. */
export class ConnectionLost extends Error {
  override readonly name = "ConnectionLost";
}

/** Below this a full inbox record and its statement would not fit one packet. */
const packetBytesLeast = 1024 * 1024;

export class MysqlConnection {
  /** Why it is of no more use; undefined while it is. */
  private lost: ConnectionLost | undefined;
  private failCurrent: ((error: ConnectionLost) => void) | undefined;

  private serverPacketBytesMax = 0;
  private serverFlushes = false;

  private constructor(
    private readonly client: mysql.Connection,
    private readonly socket: Socket,
  ) {}

  /** Throws Fault("STORE_UNAVAILABLE", "not-done") when there is none within `deadlineMs`. */
  static async open(place: MysqlPlace, deadlineMs: number): Promise<MysqlConnection> {
    const endMs = performance.now() + deadlineMs;
    const socket = connectSocket({ host: place.host, port: place.port, noDelay: true });
    const client = mysql.createConnection({ ...options(place, deadlineMs), stream: () => socket });
    const connection = new MysqlConnection(client, socket);
    client.on("error", (error) => connection.lose(`the connection failed: ${error.message}`));
    socket.on("close", () => connection.lose("the server closed the connection"));
    try {
      await connection.connected(deadlineMs);
      await connection.setUp(Math.max(1, endMs - performance.now()));
      return connection;
    } catch (cause) {
      connection.lose("it did not open");
      const message = `MySQL at ${place.host}:${place.port}: ${(cause as Error).message}`;
      throw new Fault("STORE_UNAVAILABLE", "not-done", message, { cause });
    }
  }

  /** The largest packet that the server takes. */
  get packetBytesMax(): number {
    return this.serverPacketBytesMax;
  }

  /** Whether a commit is on the server's disk, and not only in its memory, when it is answered. */
  get flushesCommits(): boolean {
    return this.serverFlushes;
  }

  get isUsable(): boolean {
    return this.lost === undefined;
  }

  /**
   * The rows of each statement of the packet. One packet at a time. Throws
   * StatementRefused, or ConnectionLost when the deadline passed first.
   */
  run(statements: Sql, deadlineMs: number): Promise<readonly (readonly Row[])[]> {
    return this.waiting(deadlineMs, (resolve, reject) => {
      let doneCount = 0;
      const query = this.client.query({ sql: statements, rowsAsArray: true }, (error, results) => {
        if (error === null) return resolve(resultSets(results, doneCount));
        if (error.fatal || error.errno === undefined) return this.lose(error.message);
        reject(new StatementRefused(error.errno, doneCount, error.message));
      });
      query.on("fields", () => {
        doneCount++;
      });
    });
  }

  /** Says goodbye, so that the server frees what the connection held before this resolves. */
  async end(deadlineMs: number): Promise<void> {
    if (!this.isUsable) return;
    const closed = new Promise((resolve) => this.socket.once("close", resolve));
    this.client.end();
    const timer = setTimeout(() => this.destroy(), deadlineMs);
    await closed;
    clearTimeout(timer);
  }

  destroy(): void {
    this.lose("it was given up");
  }

  private async setUp(deadlineMs: number): Promise<void> {
    const answers = await this.run(packet(setUp), deadlineMs);
    const [packetBytes, flush] = answers.at(-1)?.[0] ?? [];
    if (typeof packetBytes !== "number" || packetBytes < packetBytesLeast) {
      throw new Error(`its max_allowed_packet is ${packetBytes}, below ${packetBytesLeast}`);
    }
    this.serverPacketBytesMax = packetBytes;
    this.serverFlushes = flush === 1;
  }

  private connected(deadlineMs: number): Promise<void> {
    return this.waiting(deadlineMs, (resolve, reject) => {
      this.client.connect((error) => (error === null ? resolve() : reject(error)));
    });
  }

  private waiting<Answer>(
    deadlineMs: number,
    start: (resolve: (answer: Answer) => void, reject: (error: Error) => void) => void,
  ): Promise<Answer> {
    if (this.lost !== undefined) return Promise.reject(this.lost);
    return new Promise<Answer>((resolve, reject) => {
      const timer = setTimeout(() => this.lose(`no answer within ${deadlineMs} ms`), deadlineMs);
      const end = () => {
        clearTimeout(timer);
        this.failCurrent = undefined;
      };
      const fail = (error: Error) => {
        end();
        reject(error);
      };
      this.failCurrent = fail;
      start((answer) => {
        end();
        resolve(answer);
      }, fail);
    });
  }

  private lose(reason: string): void {
    this.lost ??= new ConnectionLost(reason);
    // Reset, not closed: a paused server must not find a polite peer when it wakes.
    if (!this.socket.destroyed) this.socket.resetAndDestroy();
    this.failCurrent?.(this.lost);
  }
}

/** A commit is short, so whoever waits longer for its lock waits for one that is stuck. */
const lockWaitSeconds = 1;

const setUp: readonly Sql[] = [
  // Only whole transactions are judged here; gap locks would make groups wait for each other.
  sql`SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED`,
  sql`SET SESSION innodb_lock_wait_timeout = ${lockWaitSeconds}`,
  // A value that does not fit is an error and never cut; NO_UNSIGNED_SUBTRACTION stays off.
  sql`SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION'`,
  sql`SELECT @@max_allowed_packet, @@innodb_flush_log_at_trx_commit`,
];

function options(place: MysqlPlace, connectTimeout: number): mysql.ConnectionOptions {
  const { port, user, password, database, tls } = place;
  // The socket is made above, so here the host is only the name that a certificate must have:
  // mysql2 takes it from nowhere else.
  const host = tls?.servername ?? place.host;
  const ca = tls?.ca === undefined ? {} : { ca: tls.ca };
  const ssl = tls && { ...ca, rejectUnauthorized: true, verifyIdentity: true };
  return {
    ...{ host, port, user, database, connectTimeout, multipleStatements: true },
    ...(password === undefined ? {} : { password }),
    ...(ssl === undefined ? {} : { ssl }),
    // Statements come whole: looking for places to fill in read each byte of each body again.
    queryFormat: (statements) => statements,
    // A server must not be able to ask for this machine's files.
    flags: ["-LOCAL_FILES"],
  };
}

/** One list of rows per statement; mysql2 gives a single statement's without the outer list. */
function resultSets(results: unknown, count: number): readonly (readonly Row[])[] {
  const each = count === 1 ? [results] : (results as readonly unknown[]);
  return each.map((result) => (Array.isArray(result) ? (result as Row[]) : []));
}
