/**
 * What is bound to one connection beside its first session, by the indexes that the client
 * chose; made with the first bind, so that a connection with one session has none of it.
 *
 *   bind ──▶ asked ──(its token is good)──▶ bound ──(unbind, or its end)──▶ gone
 *              └── refused ──▶ gone
 *
 * Invariant: one token is verified at a time, that of the first who asked; who asked and who
 * is bound are together within the bound, and asked for at a rate, so a flood of binds costs
 * refusals only.
 */
import { type Rate, taken, waitMs } from "../src/base/token-bucket.js";
import type { ConnectionId } from "../src/ports/edge-transport.js";
import { type Bind, firstSession, sessionIndexMax } from "../src/protocol/frames.js";
import type { SessionKey } from "../src/protocol/shards.js";

/** Characters of the tokens that wait while nobody has vouched for their connection. */
const unvouchedTokensMax = 4 * 1024;

export type BindRefusal = "BAD_INDEX" | "INDEX_IN_USE" | "TOO_MANY" | "RATE_LIMITED";

export interface Bound {
  readonly index: number;
  readonly number: ConnectionId;
  readonly key: SessionKey;
}

export class Bindings {
  private readonly bound = new Map<number, Bound>();
  private asked: readonly Bind[] = [];
  /** Whose token is with the verifier; it may have been taken back since. */
  private verifying: Bind | undefined;
  /** When its burst is whole again. */
  private fullAtMs = 0;

  get size(): number {
    return this.bound.size + this.asked.length;
  }

  get all(): Iterable<Bound> {
    return this.bound.values();
  }

  /** Whose token is to be verified now; undefined where one is under way, or nobody waits. */
  beginVerifying(): Bind | undefined {
    if (this.verifying !== undefined) return undefined;
    this.verifying = this.asked[0];
    return this.verifying;
  }

  /** Who asked, unless that was taken back meanwhile. */
  endVerifying(): Bind | undefined {
    const { verifying } = this;
    this.verifying = undefined;
    return this.dropAsked((bind) => bind === verifying) ? verifying : undefined;
  }

  /**
   * Asks for it, unless it is refused. `max`: of further sessions, those that are asked for
   * included.
   */
  ask(bind: Bind, max: number, rate: Rate, nowMs: number): BindRefusal | undefined {
    const { session: index } = bind;
    if (index <= firstSession || index > sessionIndexMax) return "BAD_INDEX";
    if (this.bound.has(index) || this.isAsked(index)) return "INDEX_IN_USE";
    if (this.size >= max) return "TOO_MANY";
    if (waitMs(this.fullAtMs, rate, nowMs) > 0) return "RATE_LIMITED";
    this.fullAtMs = taken(this.fullAtMs, rate, nowMs);
    this.asked = [...this.asked, bind];
    return undefined;
  }

  /** Peers that share one token wait for its verifier together, in any number. */
  isTooMuchUnvouched(bind: Bind): boolean {
    const tokens = [...this.asked, bind].map(({ hello }) => hello.token.length);
    return tokens.reduce((sum, length) => sum + length) > unvouchedTokensMax;
  }

  add(bound: Bound): void {
    this.bound.set(bound.index, bound);
  }

  at(index: number): Bound | undefined {
    return this.bound.get(index);
  }

  isOf(key: SessionKey): boolean {
    return [...this.bound.values()].some((bound) => bound.key === key);
  }

  /** Takes back what is asked for, or bound, at `index`. */
  drop(index: number): { readonly wasThere: boolean; readonly bound?: Bound } {
    const bound = this.bound.get(index);
    if (bound === undefined) {
      return { wasThere: this.dropAsked(({ session }) => session === index) };
    }
    this.bound.delete(index);
    return { wasThere: true, bound };
  }

  withNumber(number: ConnectionId): Bound | undefined {
    return [...this.bound.values()].find((bound) => bound.number === number);
  }

  private isAsked(index: number): boolean {
    return this.asked.some(({ session }) => session === index);
  }

  private dropAsked(isMeant: (bind: Bind) => boolean): boolean {
    const left = this.asked.filter((bind) => !isMeant(bind));
    const wasThere = left.length < this.asked.length;
    this.asked = left;
    return wasThere;
  }
}
