/**
 * A parent "p" whose children write what becomes of them into one trace:
 * `x+` started, `x-crashed` stopping and why, `x~normal` gone for good and why.
 * Spawned in the order of `policies`, in one turn; "w" beside them watches all.
 */
import type { Ref } from "../../src/runtime/cell.js";
import type { StopReason, Terminated } from "../../src/runtime/envelope.js";
import type { ActorKind, RestartPolicy } from "../../src/runtime/kind.js";
import { type Fixture, fixture, run, type Script, Scripted, script } from "./fixture.js";

type Hook = (self: Scripted, reason?: StopReason) => void | Promise<void>;

export interface Family {
  readonly f: Fixture;
  readonly parent: Script;
  readonly ref: Ref;
  /** By key; shared by all instances of a child, so their logs outlive restarts. */
  readonly children: Map<string, Script>;
  /** In place of nothing, when a child starts or stops. */
  readonly onStarted: Map<string, Hook>;
  readonly onStopping: Map<string, Hook>;
  readonly watched: string[];
  /** What has been traced since it was last taken. */
  takeTrace(): string;
  child(key: string): Script;
  refOf(key: string): Ref;
  tell(key: string, message: unknown): void;
  /** In the parent's turn. */
  inParent(body: (self: Scripted) => unknown): void;
}

export interface FamilyOptions {
  readonly parent?: Partial<ActorKind>;
  readonly child?: Partial<ActorKind>;
  readonly onStarted?: Record<string, Hook>;
}

export function family(policies: Record<string, RestartPolicy>, options: FamilyOptions): Family {
  const f = fixture();
  const traces: Traces = {
    trace: [],
    onStarted: new Map(Object.entries(options.onStarted ?? {})),
    onStopping: new Map(),
  };
  const children = new Map<string, Script>();
  const child = (key: string): Script => {
    const made = children.get(key) ?? traced(key, policies[key] ?? "permanent", options, traces);
    children.set(key, made);
    return made;
  };
  const parent = script({ name: "parent", restart: "permanent", ...options.parent });
  parent.onChildStopped = (_self, key, reason) => void traces.trace.push(`${key}~${reason}`);
  parent.children = (key) => new Scripted(child(String(key)));
  const ref = f.system.spawnRoot("p", () => new Scripted(parent));
  const refOf = (key: string): Ref => {
    const found = f.system.find(`p/${key}`);
    if (found === undefined) throw new Error(`there is no child ${key}`);
    return found;
  };
  const inParent = (body: (self: Scripted) => unknown): void => {
    ref.tell(run(body));
    f.clock.runSoon();
  };
  const watched: string[] = [];
  const watcher = f.system.spawnRoot("w", () => new Scripted(watcherInto(watched)));
  inParent((self) => {
    for (const key of Object.keys(policies)) {
      self.doSpawn(key);
      watcher.tell(run((watching) => watching.doWatch(refOf(key))));
    }
  });
  return {
    f,
    parent,
    ref,
    children,
    ...traces,
    watched,
    takeTrace: () => traces.trace.splice(0).join(" "),
    child,
    refOf,
    tell: (key, message) => {
      refOf(key).tell(message);
      f.clock.runSoon();
    },
    inParent,
  };
}

interface Traces {
  readonly trace: string[];
  readonly onStarted: Map<string, Hook>;
  readonly onStopping: Map<string, Hook>;
}

function traced(
  key: string,
  restart: RestartPolicy,
  options: FamilyOptions,
  { trace, onStarted, onStopping }: Traces,
): Script {
  const made = script({ ...options.child, restart });
  made.onStarted = (self) => {
    const starting = onStarted.get(key)?.(self);
    if (starting === undefined) trace.push(`${key}+`);
    return starting?.then(() => void trace.push(`${key}+`));
  };
  made.onStopping = (self, reason) => {
    trace.push(`${key}-${reason}`);
    return onStopping.get(key)?.(self, reason);
  };
  return made;
}

function watcherInto(watched: string[]): Script {
  const onReceive = (_self: Scripted, message: unknown): void => {
    const { address, reason } = message as Terminated;
    watched.push(`${address.split("/").at(-1)}~${reason}`);
  };
  return script({}, { onReceive });
}

/** For the instance numbered `instance` alone. */
export function failing(instance: number, fail: () => void | Promise<void>): Hook {
  return (self) => (self.instance === instance ? fail() : undefined);
}

export function poison(): never {
  throw new Error("poison");
}

export const backoff = { baseMs: 100, capMs: 10_000 };
export const abc = { a: "permanent", b: "permanent", c: "permanent" } as const;

/** a, b and c, all permanent, one-for-all unless said otherwise; backs off 50 ms, then 100. */
export function trio(options: FamilyOptions = {}): Family {
  const home = family(abc, {
    ...options,
    parent: { strategy: "one-for-all", backoff, ...options.parent },
  });
  home.takeTrace();
  return home;
}

export const abcKeys = Object.keys(abc);

export function instances(home: Family): number[] {
  return abcKeys.map((key) => home.child(key).instances);
}
