/** What the placement of this node decided lately, and why: logged, and kept for operators. */
import type { NodeContext } from "./node-context.js";

export interface Decision {
  readonly at: string;
  readonly what: string;
}

const keptMax = 32;

export class Decisions {
  private readonly kept: Decision[] = [];

  constructor(private readonly node: Pick<NodeContext, "log" | "clock">) {}

  note(what: string): void {
    this.node.log.info(`placement ${what}`);
    this.kept.push({ at: new Date(this.node.clock.wallMs()).toISOString(), what });
    if (this.kept.length > keptMax) this.kept.shift();
  }

  /** The newest `count`, the newest last. */
  latest(count = keptMax): readonly Decision[] {
    return this.kept.slice(-count);
  }
}
