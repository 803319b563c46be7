/**
 * A copy of one LMDB environment as it stands at one moment, made beside the writers that go
 * on, as `mdb_env_copyfd0` (lmdb 3.5, mdb.c) makes it: a read transaction keeps every page of
 * that moment from being used again, the meta pages are read while nobody writes, and the
 * rest of the file at leisure. LMDB's own cannot be ended once it has begun, and no
 * environment may be closed under it: a group that moved waited for the end of its copy.
 *
 *   made ──run──▶ copying ──▶ done
 *                    └──end──▶ ended: nothing of it needs the environment any more
 */
import { randomBytes } from "node:crypto";
import { fstatSync, readSync } from "node:fs";
import { type FileHandle, open, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { Fault } from "../base/result.js";

/** Both meta pages of the largest pages that LMDB knows. */
const headBytes = 2 * 65_536;
const chunkBytes = 1024 * 1024;
/** Flushed as it grows: the disk has other things to do than one flush of all of it. */
const flushBytes = 16 * chunkBytes;
export const dataFile = "data.mdb";

/** Waited for after each chunk: a test's copy is as slow as it says. */
export type CopyPace = () => Promise<void>;

/** What keeps the pages of one moment. */
export interface Snapshot {
  done(): void;
}

export class EnvironmentCopy {
  private readonly bytes: number;
  private readonly head: Buffer;
  private isReleased = false;
  private isEnded = false;
  private stop: (cause: Fault) => void = () => undefined;
  private readonly stopped: Promise<never>;

  /** Nobody writes while it is made. `source` and `snapshot` are its own from now on. */
  constructor(
    private readonly source: FileHandle,
    private readonly snapshot: Snapshot,
    private readonly pace: CopyPace | undefined,
  ) {
    this.bytes = fstatSync(source.fd).size;
    this.head = Buffer.alloc(Math.min(headBytes, this.bytes));
    readSync(source.fd, this.head, 0, this.head.length, 0);
    this.stopped = new Promise((_, reject) => {
      this.stop = reject;
    });
    this.stopped.catch(() => undefined);
  }

  /** `data.mdb` in `folder`, whole and flushed. Throws Fault("NOT_READY") where it was ended. */
  async run(folder: string): Promise<void> {
    try {
      // Once ended it is waited for by nobody: a disk that stands still would keep the group.
      await Promise.race([this.write(folder), this.stopped]);
    } finally {
      this.release();
    }
  }

  end(why: string): void {
    this.isEnded = true;
    this.release();
    this.stop(new Fault("NOT_READY", "not-done", `the copy was ended: ${why}`));
  }

  private release(): void {
    if (this.isReleased) return;
    this.isReleased = true;
    this.snapshot.done();
  }

  /** Under a name of its own: where it was ended another one may be in the same folder by now. */
  private async write(folder: string): Promise<void> {
    const part = join(folder, `copying-${randomBytes(6).toString("hex")}`);
    try {
      await this.writeTo(part);
      if (!this.isEnded) await rename(part, join(folder, dataFile));
    } finally {
      await rm(part, { force: true });
      await this.source.close();
    }
  }

  private async writeTo(path: string): Promise<void> {
    const target = await open(path, "wx", 0o600);
    try {
      await writeAll(target, this.head);
      await this.writeRest(target);
      await target.datasync();
    } finally {
      await target.close();
    }
  }

  private async writeRest(target: FileHandle): Promise<void> {
    const chunk = Buffer.allocUnsafe(chunkBytes);
    let unflushed = 0;
    for (let at = this.head.length; at < this.bytes && !this.isEnded; ) {
      const length = Math.min(chunkBytes, this.bytes - at);
      const { bytesRead } = await this.source.read(chunk, 0, length, at);
      // What lay behind the last page of the snapshot may be gone.
      if (bytesRead === 0) return;
      await writeAll(target, chunk.subarray(0, bytesRead));
      at += bytesRead;
      unflushed += bytesRead;
      if (unflushed >= flushBytes) {
        await target.datasync();
        unflushed = 0;
      }
      await this.pace?.();
    }
  }
}

async function writeAll(target: FileHandle, bytes: Buffer): Promise<void> {
  for (let at = 0; at < bytes.length; ) {
    const { bytesWritten } = await target.write(bytes, at, bytes.length - at);
    at += bytesWritten;
  }
}
