/**
 * The edges that the groups of a node have been told of: those of all nodes in its view, and
 * those that have gone, whose late messages nobody is to take any more.
 */
import type { Address } from "../src/runtime/address.js";

/** Edges that are remembered as gone; of more, the oldest are forgotten. */
const goneMax = 1_024;

export interface EdgeChanges {
  readonly gone: readonly Address[];
  readonly appeared: readonly Address[];
}

export class KnownEdges {
  private known: ReadonlySet<Address> = new Set();
  private readonly gone = new Set<string>();

  /** `edges`: of the view as it is now. */
  follow(edges: ReadonlySet<Address>): EdgeChanges {
    const { known, gone } = this;
    const lost = [...known].filter((edge) => !edges.has(edge));
    for (const edge of lost) gone.add(edge);
    for (const edge of gone) {
      if (edges.has(edge as Address) || gone.size > goneMax) gone.delete(edge);
    }
    this.known = edges;
    return { gone: lost, appeared: [...edges].filter((edge) => !known.has(edge)) };
  }

  isGone(edge: string): boolean {
    return this.gone.has(edge);
  }
}
