/**
 * A fence above a group's epochs, told to the leader until it has given the group above it,
 * which ends the group.
 */
import type { FenceReported } from "../src/protocol/messages.js";
import { type Address, addressOn } from "../src/runtime/address.js";
import { mayServe } from "./may-serve.js";
import type { NodeContext } from "./node-context.js";
import { nodeNameOf } from "./placement-view.js";

export class FenceReport {
  /** The highest found; 0 when none was. */
  private highestEpoch = 0;

  constructor(
    private readonly node: NodeContext,
    private readonly incarnation: string,
    private readonly group: number,
    private readonly tell: (leader: Address, report: FenceReported) => void,
  ) {}

  note(epoch: number): void {
    this.highestEpoch = Math.max(this.highestEpoch, epoch);
    this.repeat();
  }

  /** Nothing to tell where no fence was found. */
  repeat(): void {
    const { node, incarnation, group, highestEpoch: epoch } = this;
    const { leader } = node.view;
    if (leader === undefined || epoch === 0 || !mayServe(node, incarnation)) return;
    const { nodeId } = node;
    this.tell(addressOn(nodeNameOf(leader), "placement"), {
      kind: "FenceReported",
      group,
      epoch,
      nodeId,
      incarnation,
    });
  }
}
