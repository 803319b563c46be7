/**
 * Where the next attempt goes: by the book of addresses, after a question to the
 * dispatcher where the book wants one. What the dispatcher asks for reaches the pace.
 */
import type { Clock } from "../base/clock.js";
import type { Random } from "../base/random.js";
import type { AddressBook } from "./address-book.js";
import { askDispatcher, dispatcherUrl, type HttpFetch } from "./dispatcher.js";
import type { EdgeAddress } from "./dispatcher-answer.js";
import type { NetworkSource, NetworkType } from "./network-source.js";
import type { ReconnectPace } from "./reconnect-pace.js";
import { accountOf } from "./token-account.js";

export interface FinderParts {
  readonly clock: Clock;
  readonly random: Random;
  readonly book: AddressBook;
  readonly pace: ReconnectPace;
  readonly network: NetworkSource;
  readonly dispatcher: string | undefined;
  readonly fetch: HttpFetch;
  readonly onFailed: (reason: string) => void;
  readonly owner: { readonly app?: string | undefined; readonly user?: string | undefined };
}

export interface EdgePlace {
  readonly url: string;
  /** What the device was connected by when it went there. */
  readonly network: NetworkType;
}

export class EdgeFinder {
  private loading: Promise<void> | undefined;

  constructor(private readonly parts: FinderParts) {}

  /** Reads the storage the first time. */
  load(): Promise<void> {
    this.loading ??= this.parts.book.load();
    return this.loading;
  }

  /** Never rejects; `wait`: nowhere to go now, and why. */
  async find(token: string, device: string): Promise<EdgePlace | { readonly wait: string }> {
    const { book, network: source } = this.parts;
    await this.load();
    const account = accountOf(this.parts.owner, token);
    book.signIn(account);
    const network = source.current();
    const { dispatcher } = this.parts;
    const wallMs = this.parts.clock.wallMs();
    if (dispatcher === undefined) book.dropStale(network, wallMs);
    else if (book.wantsAnswer(network, wallMs)) {
      const isHeld = await this.ask(dispatcher, account ?? device, network);
      if (isHeld) return { wait: "the dispatcher asked to wait" };
    }
    if (!this.isLetIn(network)) return { wait: "not all are let in now" };
    const url = book.next(network, device);
    return url === undefined ? { wait: "no address of an edge is known" } : { url, network };
  }

  worked({ url, network }: EdgePlace): void {
    this.parts.book.worked(network, url, this.parts.clock.wallMs());
  }

  leave(network: NetworkType): void {
    this.parts.book.leave(network);
  }

  move(edges: readonly EdgeAddress[]): void {
    const { book, network, clock } = this.parts;
    book.move(network.current(), edges, clock.wallMs());
  }

  /** True when the dispatcher asked for time. */
  private async ask(dispatcher: string, user: string, network: NetworkType): Promise<boolean> {
    const { fetch, clock, book, pace, onFailed } = this.parts;
    const url = dispatcherUrl(dispatcher, user, book.failures);
    const outcome = await askDispatcher(fetch, url, clock);
    if (outcome.kind === "failed") {
      onFailed(outcome.reason);
      pace.hold(outcome.retryAfterMs);
      return outcome.retryAfterMs > 0;
    }
    pace.adopt(outcome.answer.backoff);
    book.note(network, outcome.answer, clock.wallMs());
    return false;
  }

  private isLetIn(network: NetworkType): boolean {
    const { book, clock, random, pace } = this.parts;
    const { letIn, retryAfterMs } = book.admission(network, clock.wallMs());
    if (random.next() < letIn) return true;
    pace.hold(retryAfterMs);
    book.expire(network);
    return false;
  }
}
