/**
 * Child type x exit x strategy. The family, in the order of spawning, is a
 * temporary `s`, a permanent `a`, the child `x` that ends, a transient `b` and a
 * temporary `t`. Each row says all that happens, in order: `x+` started,
 * `x-crashed` stopping and why, `x~normal` gone for good and why.
 */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { RestartPolicy, SupervisionStrategy } from "../../src/runtime/kind.js";
import { type Family, failing, family, poison } from "./family.js";
import { run } from "./fixture.js";

type Exit =
  | "stopSelf"
  | "a throw in receive"
  | "a rejected turn"
  | "a throw in started"
  | "a rejected started"
  | "stopChild";
type Outcomes = Record<SupervisionStrategy, string>;

// A normal end of what is to be restarted all the same.
const restartedAfterNormal: Outcomes = {
  "one-for-one": "x-normal x+",
  "one-for-all": "x-normal t-normal t~normal b-normal a-normal s-normal s~normal a+ x+ b+",
  "rest-for-one": "x-normal t-normal t~normal b-normal x+ b+",
};
const restartedAfterCrash: Outcomes = {
  "one-for-one": "x-crashed x+",
  "one-for-all": "x-crashed t-normal t~normal b-normal a-normal s-normal s~normal a+ x+ b+",
  "rest-for-one": "x-crashed t-normal t~normal b-normal x+ b+",
};
const leftAfterNormal: Outcomes = {
  "one-for-one": "x-normal x~normal",
  "one-for-all": "x-normal x~normal",
  "rest-for-one": "x-normal x~normal",
};
const leftAfterCrash: Outcomes = {
  "one-for-one": "x-crashed x~crashed",
  "one-for-all": "x-crashed x~crashed",
  "rest-for-one": "x-crashed x~crashed",
};
// While the family starts: whoever has not started yet is owed no stopping.
const restartedInStart: Outcomes = {
  "one-for-one": "s+ a+ x-crashed b+ t+ x+",
  "one-for-all": "s+ a+ x-crashed t~normal a-normal s-normal s~normal a+ x+ b+",
  "rest-for-one": "s+ a+ x-crashed t~normal x+ b+",
};
const leftInStart: Outcomes = {
  "one-for-one": "s+ a+ x-crashed x~crashed b+ t+",
  "one-for-all": "s+ a+ x-crashed x~crashed b+ t+",
  "rest-for-one": "s+ a+ x-crashed x~crashed b+ t+",
};

const matrix: Record<RestartPolicy, Record<Exit, Outcomes>> = {
  permanent: {
    stopSelf: restartedAfterNormal,
    "a throw in receive": restartedAfterCrash,
    "a rejected turn": restartedAfterCrash,
    "a throw in started": restartedInStart,
    "a rejected started": restartedAfterCrash,
    stopChild: leftAfterNormal,
  },
  transient: {
    stopSelf: leftAfterNormal,
    "a throw in receive": restartedAfterCrash,
    "a rejected turn": restartedAfterCrash,
    "a throw in started": restartedInStart,
    "a rejected started": restartedAfterCrash,
    stopChild: leftAfterNormal,
  },
  temporary: {
    stopSelf: leftAfterNormal,
    "a throw in receive": leftAfterCrash,
    "a rejected turn": leftAfterCrash,
    "a throw in started": leftInStart,
    "a rejected started": leftAfterCrash,
    stopChild: leftAfterNormal,
  },
};

/** The family up to the moment after the exit; with "a throw in started" that is its start. */
async function exiting(x: RestartPolicy, exit: Exit, strategy: SupervisionStrategy) {
  const policies = { s: "temporary", a: "permanent", x, b: "transient", t: "temporary" } as const;
  let rejectStarted = (_error: Error): void => {};
  const starts: Partial<Record<Exit, () => void | Promise<void>>> = {
    "a throw in started": poison,
    "a rejected started": () => new Promise((_, reject) => (rejectStarted = reject)),
  };
  const onStarted = { x: failing(1, starts[exit] ?? (() => {})) };
  const home = family(policies, { parent: { strategy }, onStarted });
  if (exit === "a throw in started") return home;
  home.takeTrace();
  const exits: Record<Exclude<Exit, "a throw in started">, () => void> = {
    stopSelf: () =>
      home.tell(
        "x",
        run((self) => self.doStopSelf()),
      ),
    "a throw in receive": () => home.tell("x", run(poison)),
    "a rejected turn": () =>
      home.tell(
        "x",
        run(() => Promise.reject(new Error("poison"))),
      ),
    "a rejected started": () => rejectStarted(new Error("poison")),
    stopChild: () => home.inParent((self) => self.doStopChild("x")),
  };
  exits[exit]();
  await home.f.clock.settle();
  return home;
}

function entries<Key extends string, Value>(record: Record<Key, Value>): [Key, Value][] {
  return Object.entries(record) as [Key, Value][];
}

/** Those that the trace calls gone are; the others live under their old refs and get their mail. */
function checkAftermath(home: Family, trace: string, refs: Map<string, unknown>): void {
  const gone = trace.split(" ").filter((event) => event.includes("~"));
  assert.deepEqual(home.watched, gone);
  for (const [key, ref] of refs) {
    const isGone = gone.some((event) => event.startsWith(`${key}~`));
    assert.equal(home.f.system.find(`p/${key}`), isGone ? undefined : ref, key);
    assert.deepEqual(home.child(key).log, isGone ? [] : ["told while away"], key);
  }
  assert.equal(home.parent.instances, 1);
  assert.equal(home.f.system.counters().timers, 0);
}

for (const [policy, exits] of entries(matrix)) {
  describe(`a ${policy} child that ends by`, () => {
    for (const [exit, outcomes] of entries(exits)) {
      for (const [strategy, expected] of entries(outcomes)) {
        it(`${exit}, ${strategy}: ${expected}`, async () => {
          const home = await exiting(policy, exit, strategy);
          const refs = new Map<string, unknown>();
          for (const key of home.children.keys()) {
            const ref = home.f.system.find(`p/${key}`);
            if (ref !== undefined) home.tell(key, "told while away");
            refs.set(key, ref);
          }
          await home.f.clock.advanceAndSettle(1_000);
          const trace = home.takeTrace();
          assert.equal(trace, expected);
          checkAftermath(home, trace, refs);
        });
      }
    }
  });
}
