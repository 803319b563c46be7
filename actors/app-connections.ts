/**
 * How many connections each app has on this edge, against what it may. An app's quota holds
 * for its IDC: an edge grants an equal share of it, so an app whose devices all come to
 * one of n edges gets an n-th; with devices spread evenly nobody is refused below it.
 */
import type { NodeContext } from "./node-context.js";

interface Held {
  connections: number;
  refused: number;
}

/** Of apps that have none left, kept for what was refused to them. */
const restingMax = 1_000;

export class AppConnections {
  /** By the app's name. Those with connections are bounded by the edge's connections. */
  private readonly held = new Map<string, Held>();
  private resting = 0;

  constructor(private readonly node: NodeContext) {}

  /** False when the app has its share: the connection is to be closed. */
  admit(app: string): boolean {
    const held = this.heldOf(app);
    const quota = this.node.apps.find(app)?.limits?.connections;
    if (quota !== undefined && held.connections >= this.shareOf(quota)) {
      held.refused++;
      if (held.connections === 0) this.rest();
      return false;
    }
    held.connections++;
    return true;
  }

  leave(app: string): void {
    const held = this.held.get(app);
    if (held === undefined) return;
    held.connections--;
    if (held.connections === 0) this.rest();
  }

  of(app: string): Readonly<Held> {
    return this.held.get(app) ?? { connections: 0, refused: 0 };
  }

  private shareOf(quota: number): number {
    return Math.ceil(quota / Math.max(1, this.node.view.nodes.size));
  }

  private heldOf(app: string): Held {
    const known = this.held.get(app);
    if (known !== undefined) return known;
    const made = { connections: 0, refused: 0 };
    this.held.set(app, made);
    return made;
  }

  private rest(): void {
    if (++this.resting < restingMax) return;
    this.resting = 0;
    for (const [app, { connections }] of this.held) if (connections === 0) this.held.delete(app);
  }
}
