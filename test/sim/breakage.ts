/** A safeguard taken out of the actors for the time of a run, and what must then be seen. */
import type { Limits } from "../../actors/limits.js";
import type { Clock } from "../../src/base/clock.js";
import type { KeyValue } from "../../src/ports/key-value.js";
import type { FaultName } from "./fault-names.js";
import type { BreakGroup } from "./sim-store.js";

export interface Breakage {
  readonly name: string;
  /** Of DESIGN §10: one of them is seen not to hold, whichever comes first. */
  readonly invariants: readonly number[];
  readonly faults: readonly FaultName[];
  /** They come after so many times of their usual while (0.6). */
  readonly pace?: number;
  /** Of NATS; drawn where it is not given. */
  readonly serverCount?: number;
  /** A seed that showed it when this was written; the first that is tried. */
  readonly firstSeed?: number;
  /** From `firstSeed` (1) on so many, of which one must fail. */
  readonly seedsMax: number;
  /** Patches actors for the time of a run; returns the way back. */
  readonly apply?: () => () => void;
  readonly breakGroup?: BreakGroup;
  readonly breakClock?: (clock: Clock) => Clock;
  readonly breakKeyValue?: (keyValue: KeyValue) => KeyValue;
  readonly limits?: Partial<Limits>;
  /** Written whatever their revision is. */
  readonly uncomparedKeys?: readonly string[];
}

/** Replaces a method, also a private one; `change` is given the one that was there. */
export function patch<Method>(prototype: object, name: string, change: (was: Method) => Method) {
  const methods = prototype as Record<string, Method>;
  const was = methods[name] as Method;
  methods[name] = change(was);
  return () => {
    methods[name] = was;
  };
}

export function together(...undo: (() => void)[]): () => void {
  return () => {
    for (const step of undo) step();
  };
}
