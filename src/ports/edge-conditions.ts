/** What changes while an edge runs and decides whom it lets in. */
import type { AddressRanges } from "../base/address-ranges.js";

export interface EdgeConditions {
  /** Of all handshakes on all edges of the datacenter, 0 to 100; operators set it. */
  readonly letInPercent: number;
  /** How late this process's loop is now. */
  readonly lagMs: number;
  /** For all edges; throws Fault. */
  setLetIn(percent: number): Promise<void>;
}

/** Whom this edge lets in by its settings. */
export interface EdgeAccess {
  /** Proxies whose word for who their clients are is taken. */
  readonly trusted?: AddressRanges;
  readonly allow?: AddressRanges;
  readonly deny?: AddressRanges;
  readonly connectionsPerAddressMax?: number;
  readonly origins?: ReadonlySet<string>;
}
