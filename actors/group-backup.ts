/**
 * The copy of one group that an operator wants: begun by the first request, told of by each
 * further one of the same permit. It may take as long as the disk does, so nobody waits for
 * it in a turn.
 *
 *   (nothing) ──first of a permit──▶ running ──▶ done | failed ──another permit──▶ running
 *
 * A group that leaves ends its copy, whose volume the next owner would wait for, and says so
 * as NOT_READY: it can be made anew where the group goes.
 */
import { accepted, type Result, refused } from "../src/base/result.js";
import type { InboxGroup } from "../src/ports/inbox-store.js";

export interface BackUpGroup {
  readonly kind: "BackUpGroup";
  readonly folder: string;
  readonly permit: string;
}

export type BackupState =
  /** `elsewhere`: the store is copied by its own means. */
  | { readonly state: "running" | "done" | "elsewhere" }
  | { readonly state: "failed"; readonly message: string };

const leaving = "the group leaves this node; copy it where it goes";

export class GroupBackup {
  private permit = "";
  private state: BackupState = { state: "done" };
  private readonly ending = new AbortController();

  /** `inbox` is undefined while the group is opened. */
  answer(
    { folder, permit }: BackUpGroup,
    inbox: InboxGroup | undefined,
  ): Result<BackupState, "NOT_READY" | "CONFLICT"> {
    if (this.ending.signal.aborted) return refused("NOT_READY", leaving);
    if (permit === this.permit) return accepted(this.state);
    if (this.state.state === "running") return refused("CONFLICT", "another backup is under way");
    if (inbox === undefined) return refused("NOT_READY", "the group is being opened");
    if (inbox.backUp === undefined) return accepted({ state: "elsewhere" });
    this.permit = permit;
    this.state = { state: "running" };
    inbox.backUp(folder, permit, this.ending.signal).then(
      () => this.end(permit, { state: "done" }),
      (cause) => this.end(permit, { state: "failed", message: String(cause?.message ?? cause) }),
    );
    return accepted(this.state);
  }

  /** The group is about to stop. */
  leave(): void {
    this.ending.abort(leaving);
  }

  private end(permit: string, state: BackupState): void {
    if (permit === this.permit) this.state = state;
  }
}
