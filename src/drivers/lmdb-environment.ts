/**
 * One LMDB environment: a folder that one process has open.
 *
 * A transaction is durable when `write` resolves. `overlappingSync: false` is what
 * gives this: the write thread's mdb_txn_commit then flushes the data pages
 * (fdatasync) and writes the meta page through an O_DSYNC descriptor before it marks
 * the transaction committed, and lmdb resolves only on that mark (lmdb 3.5
 * src/writer.cpp, WriteWorker::Write). With lmdb's default the flush would come after
 * the commit is visible, and what is found after a power cut hangs on the boot id.
 *
 * Every transaction is conditional on the claim that this process wrote when it
 * opened the environment, checked in the write thread inside the transaction. So a
 * second process that gets past the holder record (another pid namespace on the same
 * folder, two starts at once) makes the first one's writes fail, never mix.
 */
import { open as openFile, readFile } from "node:fs/promises";
import { join } from "node:path";
import {
  ABORT,
  type Database,
  open,
  type RootDatabase,
  type RootDatabaseOptionsWithPath,
} from "lmdb";
import { Fault } from "../base/result.js";
import type { WriteBatch } from "./lmdb-bytes.js";
import type { KeyRange } from "./lmdb-layout.js";
import { checkFolder } from "./lmdb-preflight.js";

/** Address space, not disk; lmdb maps twice as much when a volume outgrows it. */
const mapBytes = 256 * 1024 ** 2;
/**
 * A write thread that cannot start its transaction never answers (lmdb 3.5), and costs the
 * process: far above what a disk stands still and comes back from. Where another node is
 * well, the group has moved there by then.
 */
const stallMs = 120_000;
const claimKey = "claim";
export const permitFile = "permit";

// noReadAhead is documented and missing from lmdb's types.
const baseOptions: Omit<RootDatabaseOptionsWithPath, "path"> & { noReadAhead: boolean } = {
  encoding: "binary",
  overlappingSync: false,
  // The event turn's own batch makes a promise that nobody could catch.
  eventTurnBatching: false,
  mapSize: mapBytes,
  maxDbs: 2,
  // Sessions are read at random, and the cache is better spent on what is used.
  noReadAhead: true,
};
const inboxOptions = { encoding: "binary", keyEncoding: "binary" } as const;
const claimsOptions = { encoding: "binary", useVersions: true } as const;

export interface StoredPair {
  readonly key: Uint8Array;
  readonly value: Uint8Array;
}

export class LmdbEnvironment {
  private constructor(
    private readonly root: RootDatabase<Uint8Array, string>,
    private readonly inbox: Database<Uint8Array, Uint8Array>,
    private readonly claims: Database<Uint8Array, string>,
    private readonly claim: number,
    private readonly folder: string,
  ) {}

  /** Throws Fault("STORE_UNAVAILABLE", "not-done"). */
  static async open(folder: string): Promise<LmdbEnvironment> {
    try {
      await checkFolder(folder);
      return LmdbEnvironment.openFolder(folder);
    } catch (cause) {
      throw storeFault(cause, folder, "not-done");
    }
  }

  private static openFolder(folder: string): LmdbEnvironment {
    const root = open<Uint8Array, string>({ ...baseOptions, path: folder });
    root.readerCheck();
    const inbox = root.openDB<Uint8Array, Uint8Array>("inbox", inboxOptions);
    const claims = root.openDB<Uint8Array, string>("claims", claimsOptions);
    // The only synchronous transaction: a group is opened rarely and nothing waits yet.
    const claim = claims.transactionSync(() => {
      const next = (claims.getEntry(claimKey)?.version ?? 0) + 1;
      claims.putSync(claimKey, new Uint8Array([1]), next);
      return next;
    });
    return new LmdbEnvironment(root, inbox, claims, claim, folder);
  }

  /** Reads only: what stands in `folder` is left as it is. Throws as `open`. */
  static async openCopy(folder: string): Promise<LmdbEnvironment> {
    try {
      await checkFolder(folder);
      const root = open<Uint8Array, string>({ ...baseOptions, path: folder, readOnly: true });
      const inbox = root.openDB<Uint8Array, Uint8Array>("inbox", inboxOptions);
      const claims = root.openDB<Uint8Array, string>("claims", claimsOptions);
      return new LmdbEnvironment(root, inbox, claims, 0, folder);
    } catch (cause) {
      throw storeFault(cause, folder, "not-done");
    }
  }

  get(key: Uint8Array): Uint8Array | undefined {
    return this.inbox.get(key);
  }

  range({ start, end }: KeyRange): Iterable<StoredPair> {
    return this.inbox.getRange({ start, end });
  }

  keys({ start, end }: KeyRange): Iterable<Uint8Array> {
    return this.inbox.getKeys({ start, end });
  }

  lastKey({ start, end }: KeyRange): Uint8Array | undefined {
    // In reverse the first bound is the upper one, and it is in the range.
    const options = { start: end, end: start, reverse: true, exclusiveStart: true, limit: 1 };
    for (const key of this.inbox.getKeys(options)) return key;
    return undefined;
  }

  /**
   * One transaction with all of `batch`, on disk when it resolves; `batch` is not to be
   * touched before. Throws Fault("STORE_UNAVAILABLE"), "not-done" when that is proved.
   */
  async write(batch: WriteBatch): Promise<void> {
    const { inbox } = this;
    let isStillClaimed: boolean;
    try {
      const written = this.claims.ifVersion(claimKey, this.claim, () => {
        batch.forEach(
          (key, value) => void inbox.put(key, value),
          (key) => void inbox.remove(key),
        );
      });
      isStillClaimed = await orStalled(written, this.folder);
    } catch (error) {
      if (error instanceof Fault) throw error;
      const outcome = this.isHealthy() ? "not-done" : "unknown";
      throw storeFault(await commitCause(error), this.folder, outcome);
    }
    if (isStillClaimed) return;
    const message = `another process took ${this.folder}`;
    throw new Fault("STORE_UNAVAILABLE", "not-done", message);
  }

  /**
   * After a transaction failed: LMDB begins no other one when the writing of the meta
   * page failed (MDB_PANIC), and before that page nothing takes effect.
   */
  private isHealthy(): boolean {
    try {
      this.root.transactionSync(() => ABORT);
      return true;
    } catch {
      return false;
    }
  }

  /** All of one commit in `folder`/data.mdb, flushed; writers go on meanwhile (LMDB's hot copy). */
  async copyTo(folder: string, permit?: string): Promise<void> {
    try {
      if (permit !== undefined) await checkPermit(folder, permit);
      await this.root.backup(folder, false);
      await flush(join(folder, "data.mdb"));
    } catch (cause) {
      throw storeFault(cause, folder, "not-done");
    }
  }

  async close(): Promise<void> {
    await this.root.close();
  }
}

/** Whoever asks over the bus is not to have this process write where it could not itself. */
async function checkPermit(folder: string, permit: string): Promise<void> {
  const found = await readFile(join(folder, permitFile), "utf8").catch(() => undefined);
  if (found !== permit) throw new Error("nobody has prepared it for this backup");
}

/** mdb_env_copy2 closes what it wrote and does not flush it. */
async function flush(path: string): Promise<void> {
  const file = await openFile(path, "r+");
  try {
    await file.datasync();
  } finally {
    await file.close();
  }
}

async function orStalled(written: Promise<boolean>, folder: string): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined;
  const stalled = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      const message = `a commit to ${folder} has not ended within ${stallMs / 1000} s`;
      reject(new Fault("STORE_UNAVAILABLE", "unknown", message));
    }, stallMs);
  });
  try {
    return await Promise.race([written, stalled]);
  } finally {
    clearTimeout(timer);
  }
}

/** lmdb rejects with a general error whose `commitError` is a promise of the real one. */
async function commitCause(error: unknown): Promise<unknown> {
  const { commitError } = error as { commitError?: Promise<never> };
  if (commitError === undefined) return error;
  return commitError.catch((cause: unknown) => cause);
}

/** What the system's short texts do not say. */
const reasons = new Map([
  [5, "a write came short or failed (EIO): the disk may be full or broken"],
  [27, "the file would grow past its size limit (EFBIG)"],
  [28, "the disk is full (ENOSPC)"],
  [122, "the disk quota is used up (EDQUOT)"],
]);

function storeFault(cause: unknown, folder: string, outcome: "not-done" | "unknown"): Fault {
  if (cause instanceof Fault) return cause;
  const { code, message: said } = cause as { code?: unknown; message?: string };
  const reason = reasons.get(Number(code)) ?? said;
  const message = `the store in ${folder} cannot be used: ${reason}`;
  return new Fault("STORE_UNAVAILABLE", outcome, message, { cause });
}
