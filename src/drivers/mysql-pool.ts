/**
 * A few connections for reads: at most `connectionsMax` open, at most `waitingMax`
 * readers waiting for one, and none of them longer than its deadline, which includes
 * the wait. A connection that failed is replaced when somebody next wants it.
 */
import { Fault } from "../base/result.js";
import {
  MysqlConnection,
  type MysqlPlace,
  type Row,
  StatementRefused,
} from "./mysql-connection.js";
import type { Sql } from "./mysql-text.js";

export interface PoolBounds {
  readonly connectionsMax: number;
  readonly waitingMax: number;
  readonly deadlineMs: number;
}

interface Waiting {
  readonly take: (connection: MysqlConnection | undefined) => void;
}

export class MysqlPool {
  private readonly idle: MysqlConnection[] = [];
  private readonly waiting: Waiting[] = [];
  /** Open, opening or in use. */
  private count = 0;
  private isClosed = false;

  constructor(
    private readonly place: MysqlPlace,
    private readonly bounds: PoolBounds,
  ) {}

  /** The rows of one SELECT. Throws Fault("STORE_UNAVAILABLE", "not-done"). */
  async read(statement: Sql, deadlineMs = this.bounds.deadlineMs): Promise<readonly Row[]> {
    const endMs = performance.now() + deadlineMs;
    const leftMs = () => Math.max(1, endMs - performance.now());
    const connection = await this.acquire(leftMs);
    try {
      const [rows = []] = await connection.run(statement, leftMs());
      return rows;
    } catch (cause) {
      // A refused read leaves nothing behind on the connection, a lost one was destroyed.
      const what = cause instanceof StatementRefused ? "refused a read" : "did not answer a read";
      const message = `MySQL ${what}: ${(cause as Error).message}`;
      throw new Fault("STORE_UNAVAILABLE", "not-done", message, { cause });
    } finally {
      this.release(connection);
    }
  }

  async close(): Promise<void> {
    this.isClosed = true;
    for (const { take } of this.waiting.splice(0)) take(undefined);
    const { deadlineMs } = this.bounds;
    await Promise.all(this.idle.splice(0).map((connection) => connection.end(deadlineMs)));
  }

  /** For gauges. */
  inspect(): { readonly open: number; readonly idle: number; readonly waiting: number } {
    return { open: this.count, idle: this.idle.length, waiting: this.waiting.length };
  }

  private async acquire(leftMs: () => number): Promise<MysqlConnection> {
    if (this.isClosed) throw unavailable("the pool of connections is closed");
    for (;;) {
      const connection = this.idle.pop();
      if (connection === undefined) break;
      if (connection.isUsable) return connection;
      this.count--;
    }
    if (this.count < this.bounds.connectionsMax) return this.open(leftMs());
    if (this.waiting.length >= this.bounds.waitingMax) {
      throw unavailable(`${this.waiting.length} readers wait for a connection`);
    }
    const given = await this.wait(leftMs());
    if (given === undefined) return this.acquire(leftMs);
    return given;
  }

  private async open(deadlineMs: number): Promise<MysqlConnection> {
    this.count++;
    try {
      return await MysqlConnection.open(this.place, deadlineMs);
    } catch (error) {
      this.count--;
      this.waiting.shift()?.take(undefined);
      throw error;
    }
  }

  /** Undefined: there is none to give, but there is room to open one. */
  private wait(deadlineMs: number): Promise<MysqlConnection | undefined> {
    return new Promise((resolve, reject) => {
      const waiting: Waiting = {
        take: (connection) => {
          clearTimeout(timer);
          resolve(connection);
        },
      };
      const timer = setTimeout(() => {
        this.waiting.splice(this.waiting.indexOf(waiting), 1);
        reject(unavailable(`no connection was free within ${Math.round(deadlineMs)} ms`));
      }, deadlineMs);
      this.waiting.push(waiting);
    });
  }

  private release(connection: MysqlConnection): void {
    if (connection.isUsable && !this.isClosed) {
      const next = this.waiting.shift();
      if (next === undefined) this.idle.push(connection);
      else next.take(connection);
      return;
    }
    this.count--;
    void connection.end(this.bounds.deadlineMs);
    this.waiting.shift()?.take(undefined);
  }
}

function unavailable(message: string): Fault {
  return new Fault("STORE_UNAVAILABLE", "not-done", message);
}
