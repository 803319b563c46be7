/**
 * The one connection on which a group writes. It keeps a named lock while it lives, by
 * which a later owner finds and ends it (mysql-raise.ts).
 *
 * A packet of several statements stops at the first that is refused, so what came of a
 * transaction can be told: refused before its COMMIT, it is rolled back and not done;
 * unanswered with its COMMIT on the way, its fate is unknown and the connection is
 * destroyed.
 */
import { randomBytes } from "node:crypto";
import { Fault } from "../base/result.js";
import {
  ConnectionLost,
  MysqlConnection,
  type MysqlPlace,
  type Row,
  StatementRefused,
} from "./mysql-connection.js";
import { sql, utf8 } from "./mysql-text.js";
import type { Packet } from "./mysql-transaction.js";

/** Why a transaction was not done, with nothing left of it on the server. */
export class TransactionRefused extends Error {
  override readonly name = "TransactionRefused";

  constructor(
    readonly errno: number,
    readonly doneCount: number,
    message: string,
  ) {
    super(message);
  }

  /** Another transaction had to go first; the same one may be tried again. */
  get isDeadlock(): boolean {
    return this.errno === deadlock;
  }

  get isLockWait(): boolean {
    return this.errno === lockWaitTimeout;
  }
}

const deadlock = 1213;
const lockWaitTimeout = 1205;
/** An earlier connection of this writer may not have been noticed as gone yet. */
const nameWaitSeconds = 2;
const endDeadlineMs = 1_000;

export class MysqlWriter {
  readonly name = `belfry.writer.${randomBytes(12).toString("hex")}`;
  private current: MysqlConnection | undefined;
  private opening: Promise<MysqlConnection> | undefined;

  constructor(private readonly place: MysqlPlace) {}

  /** Throws Fault("STORE_UNAVAILABLE", "not-done"). */
  async connection(deadlineMs: number): Promise<MysqlConnection> {
    if (this.current?.isUsable) return this.current;
    // Groups are opened many at a time, and all of a lane want the same one.
    this.opening ??= this.open(deadlineMs).finally(() => {
      this.opening = undefined;
    });
    return this.opening;
  }

  private async open(deadlineMs: number): Promise<MysqlConnection> {
    const connection = await MysqlConnection.open(this.place, deadlineMs);
    try {
      const lock = sql`SELECT GET_LOCK(${utf8(this.name)}, ${nameWaitSeconds})`;
      const [rows] = await connection.run(lock, deadlineMs);
      if (rows?.[0]?.[0] !== 1) throw new Error("its earlier connection still lives");
    } catch (cause) {
      connection.destroy();
      const message = `MySQL did not take the writer: ${(cause as Error).message}`;
      throw new Fault("STORE_UNAVAILABLE", "not-done", message, { cause });
    }
    this.current = connection;
    return connection;
  }

  /**
   * The answers of all statements. Throws TransactionRefused, and
   * Fault("STORE_UNAVAILABLE", "not-done" | "unknown").
   */
  async transact(
    connection: MysqlConnection,
    packets: readonly Packet[],
    leftMs: () => number,
  ): Promise<readonly (readonly Row[])[]> {
    const answers: (readonly Row[])[] = [];
    for (const [index, { sql: statements, statementCount }] of packets.entries()) {
      const isLast = index === packets.length - 1;
      try {
        answers.push(...(await connection.run(statements, leftMs())));
      } catch (cause) {
        const isAtCommit =
          isLast &&
          (!(cause instanceof StatementRefused) || cause.doneCount === statementCount - 1);
        throw await this.failed(connection, cause, isAtCommit, index > 0);
      }
    }
    return answers;
  }

  async close(): Promise<void> {
    await this.current?.end(endDeadlineMs);
  }

  destroy(): void {
    this.current?.destroy();
  }

  private async failed(
    connection: MysqlConnection,
    cause: unknown,
    isAtCommit: boolean,
    isLater: boolean,
  ): Promise<Error> {
    if (cause instanceof StatementRefused && (!isAtCommit || cause.errno === deadlock)) {
      // Unanswered, the connection is destroyed, and the server rolls back by itself.
      await connection.run(sql`ROLLBACK`, endDeadlineMs).catch(() => connection.destroy());
      const doneCount = isLater ? Number.POSITIVE_INFINITY : cause.doneCount;
      return new TransactionRefused(cause.errno, doneCount, cause.message);
    }
    connection.destroy();
    if (!(cause instanceof ConnectionLost) && !(cause instanceof StatementRefused)) {
      return cause as Error;
    }
    const outcome = isAtCommit ? "unknown" : "not-done";
    const message = `MySQL did not confirm: ${cause.message}`;
    return new Fault("STORE_UNAVAILABLE", outcome, message, { cause });
  }
}
