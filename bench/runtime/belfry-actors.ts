/** What the runtime is timed with: actors that hand a token on, and a parent that spawns and stops. */
import { systemClock, systemRandom } from "../../src/drivers/system-clock.js";
import { Actor } from "../../src/runtime/actor.js";
import type { ActorKey } from "../../src/runtime/address.js";
import type { Ref } from "../../src/runtime/cell.js";
import type { ActorKind } from "../../src/runtime/kind.js";
import { ActorSystem } from "../../src/runtime/system.js";
import type { Runner, Token } from "./runner.js";

const kind: ActorKind = {
  name: "bench",
  mailbox: { max: 65_536, onFull: "reject" },
  restart: "temporary",
};

class Hopper extends Actor<Token> {
  next: Ref | undefined = undefined;

  get kind(): ActorKind {
    return kind;
  }

  receive(token: Token): void {
    if (--token.hopsLeft > 0 && this.next !== undefined) this.tell(this.next, token);
    else token.onEnd();
  }
}

interface SpawnAndStop {
  readonly count: number;
  readonly onEnd: () => void;
}

class Parent extends Actor<SpawnAndStop> {
  private left = 0;
  private onEnd: () => void = () => undefined;

  get kind(): ActorKind {
    return kind;
  }

  receive({ count, onEnd }: SpawnAndStop): void {
    this.left = count;
    this.onEnd = onEnd;
    for (let key = 0; key < count; key++) {
      this.spawn(key);
      this.stopChild(key);
    }
  }

  protected override createChild(_key: ActorKey): Actor {
    return new Hopper();
  }

  protected override onChildStopped(): void {
    if (--this.left === 0) this.onEnd();
  }
}

export function belfryRunner(): Runner {
  const system = new ActorSystem({
    nodeId: "dc1-bench",
    incarnation: "i",
    clock: systemClock,
    random: systemRandom,
  });
  const parent = system.spawnRoot("parent", () => new Parent());
  const ring = (size: number): Ref[] => {
    const hoppers = Array.from({ length: size }, () => new Hopper());
    const refs = hoppers.map((hopper, at) => system.spawnRoot(`ring-${size}-${at}`, () => hopper));
    for (const [at, hopper] of hoppers.entries()) hopper.next = refs[(at + 1) % size];
    return refs;
  };
  const rings = new Map<number, Ref[]>();
  return {
    tellAround(size, tokens) {
      const refs = rings.get(size) ?? ring(size);
      rings.set(size, refs);
      for (const [at, token] of tokens.entries()) refs[at % size]?.tell(token);
    },
    spawnAndStop: (count, onEnd) => parent.tell({ count, onEnd } satisfies SpawnAndStop),
    close: async () => void (await system.stop(5_000)),
  };
}
