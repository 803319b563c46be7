/** The same on nact, written as its documentation writes actors. */
import { dispatch, type Ref, spawnStateless, start, stop } from "nact";
import type { Runner, Token } from "./runner.js";

export function nactRunner(): Runner {
  const system = start();
  const rings = new Map<number, Ref<Token>[]>();
  const ring = (size: number): Ref<Token>[] => {
    const refs: Ref<Token>[] = [];
    for (let at = 0; at < size; at++) {
      const hop = (token: Token) => {
        const next = refs[(at + 1) % size];
        if (--token.hopsLeft > 0 && next !== undefined) dispatch(next, token);
        else token.onEnd();
      };
      refs.push(spawnStateless(system, hop, `ring-${size}-${at}`));
    }
    return refs;
  };
  return {
    tellAround(size, tokens) {
      const refs = rings.get(size) ?? ring(size);
      rings.set(size, refs);
      for (const [at, token] of tokens.entries()) {
        const ref = refs[at % size];
        if (ref !== undefined) dispatch(ref, token);
      }
    },
    spawnAndStop(count, onEnd) {
      for (let at = 0; at < count; at++) stop(spawnStateless(system, ignore, `child-${at}`));
      // nact ends an actor in the next turn of the loop; this comes after the last of them.
      setImmediate(onEnd);
    },
    close: async () => stop(system),
  };
}

function ignore(): void {
  // A child that is only made and stopped.
}
