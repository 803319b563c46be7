/**
 * Who may have how much of this node: rates by app, user and operation, and what the node
 * itself can bear. Made by the shard host, shared by its intakes, groups and shards.
 *
 *   intake ──open()──▶ shard: gate.limit() ──▶ decode ──▶ gate.shed() ──▶ session ──▶ answer
 *
 * A limit of an app holds for its whole IDC: each node grants the share of it that its
 * shards are of all 4096, so nodes need not ask each other. Users hash evenly over shards,
 * so a node's share is wrong by about 1/sqrt(active users of the app on it), at most.
 */
import { BucketTable } from "../src/base/bucket-table.js";
import { Circuit } from "../src/base/circuit.js";
import { taken, waitMs } from "../src/base/token-bucket.js";
import type { ReceivedPush } from "../src/protocol/messages.js";
import { type Shard, shardCount } from "../src/protocol/shards.js";
import { decodeToken } from "../src/protocol/tokens.js";
import type { PlacementTable } from "../topology/placement-table.js";
import { AppAccount, type Operation } from "./app-account.js";
import { HeldRoom } from "./held-pushes.js";
import { InboxUsage } from "./inbox-usage.js";
import { mayServe } from "./may-serve.js";
import type { NodeContext } from "./node-context.js";
import { OpenRequests, overdueBefore } from "./open-requests.js";
import { answerRefused, requestOf } from "./push-answering.js";
import type { PushRequest } from "./push-request.js";
import { Slots } from "./slots.js";

export const admissionTickMs = 250;
/** A sweep has left requests that are overdue: the next one comes soon. */
const hurriedTickMs = 10;
const failuresToOpen = 2;
/** Of change logs, by all groups together: half of the connections that MySQL's readers have. */
const changeReadsMax = 4;
const retryAfterMsMax = 60_000;
/** Of apps that are registered no more; they are let go when there are so many accounts. */
const accountsMax = 10_000;
/** Whose traces outside the inbox are deleted at a time: each purges every lane's stream. */
const erasuresMax = 4;

/** Of one group on this node, whether it runs or not. */
export interface GroupState {
  readonly circuit: Circuit;
  isServing: boolean;
}

export class Admission {
  readonly requests: OpenRequests;
  readonly inboxes = new InboxUsage();
  readonly held = new HeldRoom();
  readonly changeReads = new Slots(changeReadsMax);
  readonly erasures = new Slots(erasuresMax);
  /** By the app's token. */
  private readonly accounts = new Map<string, AppAccount>();
  private readonly users: Record<Operation, BucketTable>;
  private readonly groups = new Map<number, GroupState>();
  private shareOf: { table: PlacementTable; incarnation: string; share: number } | undefined =
    undefined;
  private sampledMs: number;
  private dueMs: number;
  private lateMs = 0;
  /** The lesser of the last two latenesses of its tick: one pause is no lag. */
  lagMs = 0;

  constructor(private readonly node: NodeContext) {
    const { limits, clock } = node;
    this.requests = new OpenRequests(limits.openRequestsMax);
    const users = limits.userBucketsMax;
    this.users = { push: new BucketTable(users), inbox: new BucketTable(users / 8) };
    this.sampledMs = clock.monotonicMs();
    this.dueMs = this.sampledMs + admissionTickMs;
  }

  /**
   * A push that wants an answer gets one by its deadline from now on. Undefined for a
   * plain publish; false when there are too many requests.
   */
  open(push: ReceivedPush, incarnation: string, sinceMs: number): PushRequest | undefined | false {
    const request = requestOf(push, incarnation, sinceMs);
    return request === undefined || this.requests.add(request) ? request : false;
  }

  groupState(group: number): GroupState {
    const known = this.groups.get(group);
    if (known !== undefined) return known;
    const made = { circuit: new Circuit(failuresToOpen), isServing: false };
    this.groups.set(group, made);
    return made;
  }

  /** The group is none of this node's business any more, nor is what it went through here. */
  forgetGroup(group: number): void {
    this.groups.get(group)?.circuit.reset();
  }

  account(appToken: string): AppAccount {
    const known = this.accounts.get(appToken);
    if (known !== undefined) return known;
    if (this.accounts.size >= accountsMax) this.forgetAccounts();
    const made = new AppAccount(decodeToken(appToken) ?? "", this.node.limits);
    this.accounts.set(appToken, made);
    made.follow(this.node.apps.find(made.app), this.share);
    return made;
  }

  /**
   * Milliseconds that the operation has to wait for its user's or its app's rate; 0, and
   * one taken of both, when it may pass now. Who is over its own rate takes nothing from
   * the app's.
   */
  takeRate(operation: Operation, key: string, account: AppAccount): number {
    const nowMs = this.node.clock.monotonicMs();
    account.follow(this.node.apps.find(account.app), this.share);
    const rates = account.ratesOf(operation);
    const users = this.users[operation];
    const userWaitMs = users.waitMs(key, rates.user, nowMs);
    if (userWaitMs > 0) return Math.min(retryAfterMsMax, Math.ceil(userWaitMs));
    if (rates.app !== undefined) {
      const appWaitMs = waitMs(rates.appFullAtMs, rates.app, nowMs);
      if (appWaitMs > 0) return Math.min(retryAfterMsMax, Math.ceil(appWaitMs));
      rates.appFullAtMs = taken(rates.appFullAtMs, rates.app, nowMs);
    }
    users.take(key, rates.user, nowMs);
    return 0;
  }

  /** Of the shards of its IDC, those that this node owns; at least one group's. */
  get share(): number {
    const { view, incarnation, store } = this.node;
    const { table } = view;
    if (this.shareOf?.table === table && this.shareOf.incarnation === incarnation) {
      return this.shareOf.share;
    }
    let owned = 0;
    for (let shard = 0; shard < shardCount; shard++) {
      if (table.isOwnedBy(shard as Shard, this.node)) owned++;
    }
    const share = Math.max(owned, shardCount / store.groupCount) / shardCount;
    this.shareOf = { table, incarnation, share };
    return share;
  }

  /** Returns when it wants to be called again. */
  tick(): number {
    const { clock, limits } = this.node;
    const nowMs = clock.monotonicMs();
    const lateMs = Math.max(0, nowMs - this.dueMs);
    this.lagMs = Math.min(lateMs, this.lateMs);
    this.lateMs = lateMs;
    const beforeMs = overdueBefore(nowMs, limits);
    const isBehind = this.requests.sweep(beforeMs, (request) => this.answerOverdue(request));
    if (nowMs - this.sampledMs >= 4 * admissionTickMs) this.sample(nowMs);
    void this.inboxes.look();
    const delayMs = isBehind ? hurriedTickMs : admissionTickMs;
    this.dueMs = nowMs + delayMs;
    return delayMs;
  }

  private sample(nowMs: number): void {
    const elapsedMs = nowMs - this.sampledMs;
    this.sampledMs = nowMs;
    for (const [token, account] of this.accounts) {
      account.sample(elapsedMs);
      account.noteInbox(this.inboxes.of(token));
    }
  }

  /** Once its incarnation is over, another owner may have it as well. */
  private answerOverdue(request: PushRequest): void {
    if (mayServe(this.node, request.incarnation)) {
      answerRefused(this.node.bus, request, "STORE_UNAVAILABLE");
    } else {
      request.close();
    }
  }

  private forgetAccounts(): void {
    for (const [token, { app }] of this.accounts) {
      if (this.node.apps.find(app) === undefined) this.accounts.delete(token);
    }
  }

  /** What an app uses here; null of what it has not touched. */
  usageOf(appToken: string) {
    return {
      share: this.share,
      pushes: this.accounts.get(appToken)?.figures ?? null,
      inbox: this.inboxes.of(appToken) ?? { bytes: 0, messages: 0, users: 0 },
    };
  }

  /** Refusals of all apps, by reason. */
  get refused(): Record<string, number> {
    const sum: Record<string, number> = {};
    for (const { figures } of this.accounts.values()) {
      for (const [code, count] of Object.entries(figures.refused)) {
        sum[code] = (sum[code] ?? 0) + count;
      }
    }
    return sum;
  }

  inspect(): Record<string, unknown> {
    return {
      lagMs: Math.round(this.lagMs),
      share: this.share,
      openRequests: this.requests.count,
      overdue: this.requests.overdue,
      refused: this.refused,
      openCircuits: [...this.groups]
        .filter(([, { circuit }]) => circuit.isOpen)
        .map(([group]) => group),
    };
  }
}
