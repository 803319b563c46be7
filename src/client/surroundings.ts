/** What is around a device: its network and whether somebody looks. Tells when either changed. */
import type { Cancel } from "../base/clock.js";
import type { AppState, AppStateSource } from "./app-state.js";
import type { NetworkSource, NetworkType } from "./network-source.js";

export interface Seen {
  readonly network: NetworkType;
  readonly app: AppState;
}

export class Surroundings {
  private cancels: readonly Cancel[] = [];
  private known: Seen;

  constructor(
    private readonly network: NetworkSource,
    private readonly app: AppStateSource,
    private readonly onChange: (now: Seen, before: Seen) => void,
  ) {
    this.known = this.look();
  }

  get now(): Seen {
    return this.known;
  }

  /** From now on changes are told; more than once is once. */
  start(): void {
    if (this.cancels.length > 0) return;
    this.known = this.look();
    const onChange = () => this.compare();
    this.cancels = [this.network.onChange(onChange), this.app.onChange(onChange)];
  }

  stop(): void {
    for (const cancel of this.cancels) cancel();
    this.cancels = [];
  }

  private look(): Seen {
    return { network: this.network.current(), app: this.app.current() };
  }

  private compare(): void {
    const before = this.known;
    const now = this.look();
    if (now.network === before.network && now.app === before.app) return;
    this.known = now;
    this.onChange(now, before);
  }
}

/** The way that the connection went by is not there any more. */
export function isWayGone(now: NetworkType, before: NetworkType): boolean {
  if (now === before) return false;
  return now === "none" || (before !== "none" && before !== "unknown" && now !== "unknown");
}
