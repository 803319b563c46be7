/** The top of a tree: supervises the root actors and holds the way to the system. */
import { assert } from "../base/assert.js";
import { Actor, cellOf } from "./actor.js";
import { type ActorKey, assertKey } from "./address.js";
import { type Host, LIVE, setState } from "./cell.js";
import type { ActorKind } from "./kind.js";

const ROOT_KIND: ActorKind = {
  name: "root",
  mailbox: { max: 1, onFull: "reject" },
  restart: "temporary",
};

export class Root extends Actor {
  private readonly makers = new Map<ActorKey, () => Actor>();

  constructor(readonly host: Host) {
    super();
    setState(cellOf(this), LIVE);
  }

  get kind(): ActorKind {
    return ROOT_KIND;
  }

  /** `make` is called again whenever the root actor is restarted. */
  addMaker(key: ActorKey, make: () => Actor): void {
    assertKey(key);
    assert(!this.makers.has(key), `there is a root actor ${key} already`);
    this.makers.set(key, make);
  }

  removeMaker(key: ActorKey): void {
    this.makers.delete(key);
  }

  receive(): void {}

  protected override createChild(key: ActorKey): Actor {
    const make = this.makers.get(key);
    assert(make !== undefined, `root actor ${key} was spawned by spawnRoot`);
    return make();
  }

  protected override onChildStopped(key: ActorKey): void {
    this.removeMaker(key);
  }
}
