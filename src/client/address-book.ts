/**
 * The addresses of edges that a device knows, for each type of network apart: what works
 * behind a company's wifi need not be what works on the road. Kept over a reload.
 *
 * Bounds: five types of network, `edgesMax` addresses each.
 */
import { isMap } from "../protocol/codec.js";
import { addressAt, rendezvousOrder } from "./address-order.js";
import type { DeviceStorage } from "./device-storage.js";
import {
  type DispatcherAnswer,
  type EdgeAddress,
  edgesMax,
  readEdges,
} from "./dispatcher-answer.js";
import { LatestWriter } from "./latest-writer.js";
import type { NetworkType } from "./network-source.js";

interface Page {
  readonly edges: readonly EdgeAddress[];
  /** When it was written, and when it wants to be asked for again: wall clock, it outlives us. */
  readonly atMs: number;
  readonly untilMs: number;
  readonly letIn: number;
  readonly retryAfterMs: number;
  readonly good?: string;
}

/** So long what an edge said goes before what a dispatcher says, or the app. */
const movedMs = 60_000;
const recordVersion = 1;
const networks: readonly NetworkType[] = ["wifi", "cellular", "ethernet", "none", "unknown"];

export class AddressBook {
  private readonly pages = new Map<NetworkType, Page>();
  /** Attempts since an address was last good. */
  private attempts = 0;
  private account: string | undefined;
  private readonly writer: LatestWriter;
  private readonly key: string;

  constructor(
    private readonly storage: DeviceStorage,
    keyPrefix: string,
    /** What the app knows by itself: where nothing better is known. */
    private readonly urls: readonly string[],
    private readonly isSecure: boolean,
    private readonly onError: (error: unknown) => void,
  ) {
    this.key = `${keyPrefix}addresses`;
    this.writer = new LatestWriter(storage, onError);
  }

  async load(): Promise<void> {
    try {
      const text = (await this.storage.get(this.key)) ?? "{}";
      const record: unknown = JSON.parse(text);
      if (!isMap(record) || record.v !== recordVersion) return;
      if (typeof record.account === "string") this.account = record.account;
      for (const network of networks) {
        const page = readPage(record[network], this.isSecure);
        if (page !== undefined) this.pages.set(network, page);
      }
    } catch (error) {
      this.onError(error);
    }
  }

  /** Attempts since an attach came. */
  get failures(): number {
    return this.attempts;
  }

  /** Whose edges are looked for; another user's list has another order. */
  signIn(account: string | undefined): void {
    if (account === this.account) return;
    this.account = account;
    this.pages.clear();
    this.attempts = 0;
  }

  /** Nothing is known, it is too old, or all of it was tried in vain. */
  wantsAnswer(network: NetworkType, wallMs: number): boolean {
    const page = this.pages.get(network);
    if (page === undefined || !isFresh(page, wallMs)) return true;
    return this.attempts > 0 && this.attempts % Math.max(1, page.edges.length) === 0;
  }

  note(network: NetworkType, answer: DispatcherAnswer, wallMs: number): void {
    const { edges, ttlMs, letIn, retryAfterMs } = answer;
    const good = this.pages.get(network)?.good;
    this.write(network, {
      edges,
      atMs: wallMs,
      untilMs: wallMs + ttlMs,
      letIn,
      retryAfterMs,
      ...(good === undefined ? {} : { good }),
    });
  }

  /** The share of devices that may connect now, and how long the others stay away. */
  admission(network: NetworkType, wallMs: number): { letIn: number; retryAfterMs: number } {
    const page = this.pages.get(network);
    const isHeld = page !== undefined && isFresh(page, wallMs);
    return isHeld ? page : { letIn: 1, retryAfterMs: 0 };
  }

  /** What was said is used up: the next attempt asks again. */
  expire(network: NetworkType): void {
    const page = this.pages.get(network);
    if (page !== undefined) this.pages.set(network, { ...page, untilMs: page.atMs });
  }

  /**
   * Nobody can be asked for others: what an edge said holds no longer than it said, and then the
   * app's own come first again, such as a balancer before the host behind it.
   */
  dropStale(network: NetworkType, wallMs: number): void {
    const page = this.pages.get(network);
    if (page === undefined || page.edges.length === 0 || isFresh(page, wallMs)) return;
    const { good, ...kept } = page;
    const isOwn = good !== undefined && this.urls.includes(good);
    this.write(network, { ...kept, edges: [], ...(isOwn ? { good } : {}) });
  }

  /** The address for the next attempt. */
  next(network: NetworkType, fallbackKey: string): string | undefined {
    const page = this.pages.get(network);
    const told = page?.edges ?? [];
    // The app's own come last: who was told of one edge, which is gone, is not lost with it.
    const own = rendezvousOrder(this.account ?? fallbackKey, this.urls);
    const others = own.filter(({ url }) => told.every((edge) => edge.url !== url));
    const url = addressAt([...told, ...others], page?.good, this.attempts);
    this.attempts += 1;
    return url;
  }

  /** An attach came by this address. */
  worked(network: NetworkType, url: string, wallMs: number): void {
    this.attempts = 0;
    const page = this.pages.get(network) ?? emptyPage(wallMs);
    if (page.good !== url) this.write(network, { ...page, good: url });
  }

  /** An edge says where to go instead; first these, then what was known. */
  move(network: NetworkType, given: readonly EdgeAddress[], wallMs: number): void {
    const edges = given.filter(({ url }) => !this.isSecure || url.startsWith("wss://"));
    if (edges.length === 0) {
      this.leave(network);
      return;
    }
    const page = this.pages.get(network) ?? emptyPage(wallMs);
    const rest = page.edges.filter(({ url }) => edges.every((edge) => edge.url !== url));
    const { good: _left, ...kept } = page;
    this.attempts = 0;
    // A dispatcher that is asked on the way there would not know of it yet.
    const untilMs = Math.max(page.untilMs, wallMs + movedMs);
    this.write(network, { ...kept, untilMs, edges: [...edges, ...rest].slice(0, edgesMax) });
  }

  /** The edge sent us away: another one is tried before it. */
  leave(network: NetworkType): void {
    const page = this.pages.get(network);
    if (page?.good === undefined) return;
    // What was good is first, and had its turn: the next attempt is the one behind it.
    this.attempts = Math.max(this.attempts, 1);
  }

  private write(network: NetworkType, page: Page): void {
    this.pages.set(network, page);
    const { account } = this;
    const record = { v: recordVersion, account, ...Object.fromEntries(this.pages) };
    this.writer.write(this.key, JSON.stringify(record));
  }
}

function emptyPage(wallMs: number): Page {
  return { edges: [], atMs: wallMs, untilMs: wallMs, letIn: 1, retryAfterMs: 0 };
}

/** Of a clock that was set back nothing is known. */
function isFresh({ atMs, untilMs }: Page, wallMs: number): boolean {
  return atMs <= wallMs && wallMs < untilMs;
}

function readPage(value: unknown, isSecure: boolean): Page | undefined {
  if (!isMap(value) || !Array.isArray(value.edges)) return undefined;
  const { atMs, untilMs, letIn, retryAfterMs, good } = value;
  if (typeof atMs !== "number" || typeof untilMs !== "number") return undefined;
  return {
    edges: readEdges(value.edges, isSecure),
    atMs,
    untilMs,
    letIn: typeof letIn === "number" ? letIn : 1,
    retryAfterMs: typeof retryAfterMs === "number" ? retryAfterMs : 0,
    ...(typeof good === "string" ? { good } : {}),
  };
}
