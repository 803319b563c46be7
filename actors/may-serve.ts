/**
 * The fence that a node puts up against itself. A process that was stopped takes up what
 * waited for it before any timer tells it that its time is over, so whoever takes up
 * work, or is about to have an effect that no epoch and no store guards, asks first.
 *
 * Invariant: once false for an incarnation it stays so; the node goes on as another one.
 */
import type { NodeContext } from "./node-context.js";

/** Whether what began under `incarnation` of this node may still have an effect outside. */
export function mayServe(node: NodeContext, incarnation: string): boolean {
  return node.incarnation === incarnation && node.view.isLeaseHeld(node.clock.monotonicMs());
}
