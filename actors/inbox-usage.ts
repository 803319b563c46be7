/**
 * What the apps' users have stored in the shards that this node serves. A slow scan goes
 * round all groups, for ever, a few listings a second for the whole node; what commits
 * change meanwhile is added to what is known, and to what the scan under way has passed.
 *
 * So after one round it is exact, but for commits that were on their way when their session
 * was listed, which the next round corrects; before it, it is what was stored since the
 * group was opened.
 */
import type { InboxGroup, SessionSize } from "../src/ports/inbox-store.js";
import { appOfKey, type SessionKey, type Shard } from "../src/protocol/shards.js";

export interface InboxTotals {
  bytes: number;
  messages: number;
  /** With something stored, as of the last round. */
  users: number;
}

/** A look ends after so many listings, or when they have told of so many messages. */
const listingsPerLook = 16;
const messagesPerLook = 2_000;
/** The embedded store reads each message for a listing, in one turn of the loop. */
const messagesPerListing = 1_000;
/** One session may hold more: it is listed alone. */
const bytesPerListing = 1024 * 1024;
const bytesPerLook = 4 * bytesPerListing;
const sessionsPerListing = 64;
/** Of one group and of the node; what more apps have stored is not measured. */
const appsMax = 10_000;

type ByApp = Map<string, InboxTotals>;

class GroupUsage {
  /** From the last whole round and what was committed since. */
  known: ByApp = new Map();
  /** Of the round under way: all that stands before (`at`, `afterKey`). */
  passed: ByApp = new Map();
  at = 0;
  afterKey = "";
  private readonly places: ReadonlyMap<Shard, number>;

  constructor(
    readonly inbox: InboxGroup,
    readonly shards: readonly Shard[],
  ) {
    this.places = new Map(shards.map((shard, at) => [shard, at]));
  }

  hasPassed(shard: Shard, key: SessionKey): boolean {
    const at = this.places.get(shard) ?? Number.POSITIVE_INFINITY;
    return at < this.at || (at === this.at && key <= this.afterKey);
  }
}

export class InboxUsage {
  private readonly groups = new Map<number, GroupUsage>();
  private readonly total: ByApp = new Map();
  private isLooking = false;
  private turn = 0;
  /** Sessions that the next listing asks for: fewer where they hold much. */
  private sessions = 1;
  private messagesSeen = 0;
  private bytesSeen = 0;
  /** Whole rounds of groups. */
  rounds = 0;

  constructor(private readonly listings = listingsPerLook) {}

  opened(group: number, inbox: InboxGroup, shards: readonly Shard[]): void {
    this.closed(group);
    this.groups.set(
      group,
      new GroupUsage(
        inbox,
        [...shards].sort((a, b) => a - b),
      ),
    );
  }

  closed(group: number): void {
    const usage = this.groups.get(group);
    if (usage === undefined) return;
    this.groups.delete(group);
    for (const [app, totals] of usage.known) add(this.total, app, totals, -1);
  }

  /** By the app's token. */
  of(app: string): InboxTotals | undefined {
    return this.total.get(app);
  }

  /** A commit has changed what one session holds. */
  noteCommitted(
    group: number,
    shard: Shard,
    key: SessionKey,
    bytes: number,
    messages: number,
  ): void {
    const usage = this.groups.get(group);
    if (usage === undefined || (bytes === 0 && messages === 0)) return;
    const app = appOfKey(key);
    const change = { bytes, messages, users: 0 };
    add(this.total, app, change, 1);
    add(usage.known, app, change, 1);
    if (usage.hasPassed(shard, key)) add(usage.passed, app, change, 1);
  }

  /** A few listings more; one look at a time. A store that fails is asked again later. */
  async look(): Promise<void> {
    const groups = [...this.groups.keys()];
    if (this.isLooking || groups.length === 0) return;
    this.isLooking = true;
    this.messagesSeen = 0;
    this.bytesSeen = 0;
    try {
      for (let left = this.listings; left > 0; left--) {
        if (this.messagesSeen >= messagesPerLook || this.bytesSeen >= bytesPerLook) return;
        const group = groups[this.turn % groups.length] as number;
        const usage = this.groups.get(group);
        if (usage === undefined || (await this.list(group, usage))) this.turn++;
      }
    } catch {
      this.turn++;
    } finally {
      this.isLooking = false;
    }
  }

  /** True when the group's round has ended, or the group has. */
  private async list(group: number, usage: GroupUsage): Promise<boolean> {
    const shard = usage.shards[usage.at];
    if (shard === undefined) return this.endRound(usage);
    const asked = this.sessions;
    const { inbox, afterKey } = usage;
    const sizes = await inbox.listSessions(shard, afterKey, asked, bytesPerListing);
    if (this.groups.get(group) !== usage) return true;
    this.noteListing(sizes);
    for (const { key, bytes, messages } of sizes) {
      add(usage.passed, appOfKey(key), { bytes, messages, users: 1 }, 1);
      usage.afterKey = key;
    }
    const bytes = sizes.reduce((sum, size) => sum + size.bytes, 0);
    this.bytesSeen += bytes;
    if (sizes.length === asked || bytes > bytesPerListing) return false;
    usage.at++;
    usage.afterKey = "";
    return usage.at < usage.shards.length ? false : this.endRound(usage);
  }

  private noteListing(sizes: readonly SessionSize[]): void {
    const messages = sizes.reduce((sum, size) => sum + size.messages, 0);
    this.messagesSeen += messages;
    const fitting = Math.floor((messagesPerListing * sizes.length) / Math.max(1, messages));
    const wanted = sizes.length === 0 ? this.sessions : Math.min(2 * this.sessions, fitting);
    this.sessions = Math.max(1, Math.min(sessionsPerListing, wanted));
  }

  private endRound(usage: GroupUsage): true {
    for (const [app, totals] of usage.known) add(this.total, app, totals, -1);
    for (const [app, totals] of usage.passed) add(this.total, app, totals, 1);
    usage.known = usage.passed;
    usage.passed = new Map();
    usage.at = 0;
    usage.afterKey = "";
    this.rounds++;
    return true;
  }
}

function add(byApp: ByApp, app: string, change: InboxTotals, sign: 1 | -1): void {
  const totals = byApp.get(app);
  if (totals !== undefined) {
    totals.bytes += sign * change.bytes;
    totals.messages += sign * change.messages;
    totals.users += sign * change.users;
    // Below 0 it is known of acks before the messages: forgotten, it would be added for ever.
    if (totals.bytes === 0 && totals.messages === 0 && totals.users === 0) byApp.delete(app);
  } else if (sign === 1 && byApp.size < appsMax) {
    byApp.set(app, { ...change });
  }
}
