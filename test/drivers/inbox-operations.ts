/**
 * Random sequences of what can be asked of an InboxStore, and how one is carried out
 * and looked at, so that two stores can be compared.
 */
import fc from "fast-check";
import type {
  Change,
  CommitAnswer,
  InboxGroup,
  InboxStore,
  SessionWrite,
  ShardWrite,
} from "../../src/ports/inbox-store.js";
import {
  partitionCount,
  type SessionKey,
  type Shard,
  sessionKey,
} from "../../src/protocol/shards.js";
import { entry, idempotencyKey } from "../contract/inbox-samples.js";

export type Operation =
  | { readonly kind: "raise"; readonly fences: readonly Fence[] }
  /** Called one after the other without waiting for the answers. */
  | { readonly kind: "commit"; readonly commits: readonly (readonly Write[])[] }
  | { readonly kind: "reopen" }
  | { readonly kind: "look" }
  /** Whatever may be lost without harm is lost. */
  | { readonly kind: "forget" };

interface Fence {
  readonly place: 0 | 1;
  readonly epoch: number;
  readonly holder: string;
  readonly reserveUntilMs: number;
}

interface Write {
  readonly place: 0 | 1;
  readonly epoch: number;
  readonly reserveUntilMs: number | undefined;
  readonly publishedChange: number | undefined;
  readonly sessions: readonly Session[];
}

interface Session {
  readonly who: number;
  readonly isRemoved: boolean;
  readonly hasRecord: boolean;
  readonly devices: readonly string[];
  readonly drop: readonly number[];
  readonly append: readonly {
    readonly back: number;
    readonly bytes: number;
    readonly head: number;
  }[];
  readonly remember: readonly string[];
  readonly forget: readonly string[];
  readonly addDue: readonly number[];
  readonly removeDue: readonly number[];
  readonly changes: readonly number[];
}

/** A session is of one shard, so each of the two has its own. */
const sessions: readonly (readonly SessionKey[])[] = ["0", "1"].map((place) =>
  ["a", "b", "b%20", "%C3%A4"].map((uid) => sessionKey("demo", uid + place)),
);

const place = fc.constantFrom<0 | 1>(0, 1);
const few = <Value>(of: fc.Arbitrary<Value>) => fc.array(of, { maxLength: 3 });
const keyIds = ["k1", "k2", "ключ\u0000%"];
const keyId = fc.constantFrom(...keyIds);

const session: fc.Arbitrary<Session> = fc.record({
  who: fc.nat(3),
  isRemoved: fc.nat(15).map((drawn) => drawn === 0),
  hasRecord: fc.boolean(),
  devices: few(fc.constantFrom("phone", "таблет", "")),
  drop: few(fc.nat(9)),
  append: few(fc.record({ back: fc.nat(4), bytes: fc.constantFrom(0, 3, 300), head: fc.nat(3) })),
  remember: few(keyId),
  forget: few(keyId),
  addDue: few(fc.nat(5)),
  removeDue: few(fc.nat(5)),
  changes: few(fc.nat(10)),
});

const write: fc.Arbitrary<Write> = fc.record({
  place,
  epoch: fc.integer({ min: 0, max: 4 }),
  reserveUntilMs: fc.option(fc.nat(1_000), { nil: undefined }),
  publishedChange: fc.option(fc.nat(60), { nil: undefined, freq: 2 }),
  sessions: few(session),
});

const fence: fc.Arbitrary<Fence> = fc.record({
  place,
  epoch: fc.integer({ min: 0, max: 4 }),
  holder: fc.constantFrom("a", "b"),
  reserveUntilMs: fc.nat(1_000),
});

export const operations: fc.Arbitrary<readonly Operation[]> = fc.array(
  fc.oneof(
    { weight: 2, arbitrary: fc.record({ kind: fc.constant("raise"), fences: few(fence) }) },
    { weight: 8, arbitrary: fc.record({ kind: fc.constant("commit"), commits: few(few(write)) }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant("reopen") }) },
    { weight: 2, arbitrary: fc.record({ kind: fc.constant("look") }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant("forget") }) },
  ) as fc.Arbitrary<Operation>,
  { minLength: 1, maxLength: 20 },
);

/** One store under a sequence of operations, on two neighbouring shards of its own. */
export class Subject {
  private step = 0;
  /** Of each of its two shards, as answered. */
  private readonly lastChanges: [number, number] = [0, 0];

  private constructor(
    private readonly store: InboxStore,
    private group: InboxGroup,
    private readonly first: Shard,
    private readonly loseCaches: () => Promise<unknown>,
  ) {}

  static async open(
    store: InboxStore,
    first: Shard,
    loseCaches: () => Promise<unknown> = async () => undefined,
  ): Promise<Subject> {
    return new Subject(store, await store.openGroup(store.groupOf(first)), first, loseCaches);
  }

  /** What was answered, or what is stored, as plain values. */
  async carryOut(operation: Operation): Promise<unknown> {
    this.step++;
    switch (operation.kind) {
      case "raise": {
        const fences = operation.fences.map(({ place: at, ...rest }) => ({
          shard: this.shard(at),
          ...rest,
        }));
        return plain(await this.group.raise(fences));
      }
      case "commit": {
        const commits = operation.commits.map((writes) =>
          this.group.commit(writes.map((each) => this.writeOf(each))),
        );
        const answers = await Promise.all(commits);
        this.noteChanges(operation.commits.flat(), answers.flat());
        return plain(answers);
      }
      case "reopen":
        await this.group.close();
        this.group = await this.store.openGroup(this.store.groupOf(this.first));
        return undefined;
      case "look":
        return this.look();
      case "forget":
        await this.loseCaches();
        return undefined;
    }
  }

  private noteChanges(writes: readonly Write[], answers: readonly CommitAnswer[]): void {
    for (const [index, answer] of answers.entries()) {
      const at = writes[index]?.place ?? 0;
      if (answer.ok) this.lastChanges[at] = answer.value.lastChange;
    }
  }

  async look(): Promise<unknown> {
    const seen: unknown[] = [];
    for (const at of [0, 1] as const) {
      const shard = this.shard(at);
      for (const key of sessions[at] ?? []) {
        const loaded = await this.group.loadSession(shard, key);
        const keys = [...(loaded?.keys ?? [])].sort((a, b) => (a.id < b.id ? -1 : 1));
        seen.push(loaded === undefined ? "nothing" : { ...loaded, keys });
        seen.push(await this.group.readEntries(shard, key, 0, 100, 1_000_000));
        seen.push(await this.group.readEntries(shard, key, 2, 2, 300));
      }
      const due = await this.group.readDue(shard, 1_000, 1_000);
      seen.push([...due].sort((a, b) => a.atMs - b.atMs || (a.key < b.key ? -1 : 1)));
      seen.push((await this.group.readDue(shard, 2, 1_000)).length);
      seen.push(await this.group.readChanges(shard, 0, 1_000));
      seen.push(await this.group.listSessions(shard, "", 3));
    }
    return plain(seen);
  }

  close(): Promise<void> {
    return this.group.close();
  }

  private shard(at: 0 | 1): Shard {
    return (this.first + at * partitionCount) as Shard;
  }

  private writeOf({ place: at, epoch, sessions: written, ...rest }: Write): ShardWrite {
    const { reserveUntilMs, publishedChange } = rest;
    return {
      shard: this.shard(at),
      epoch,
      ...(reserveUntilMs === undefined ? {} : { reserveUntilMs }),
      // Nobody publishes what nobody has told of yet.
      ...(publishedChange === undefined
        ? {}
        : { publishedChange: Math.min(publishedChange, this.lastChanges[at]) }),
      sessions: written.map((each) => this.sessionOf(at, each)),
    };
  }

  /** No seq is above the step's number, and no record's lastSeq below it: it never sinks. */
  private sessionOf(at: 0 | 1, drawn: Session): SessionWrite {
    const { step } = this;
    const seqs = new Set(drawn.append.map(({ back }) => Math.max(1, step - back)));
    return {
      key: sessions[at]?.[drawn.who] as SessionKey,
      ...(drawn.isRemoved ? { remove: true } : {}),
      ...(drawn.hasRecord ? { record: this.recordOf(drawn) } : {}),
      drop: drawn.isRemoved
        ? Array.from({ length: step }, (_, at) => at + 1)
        : drawn.drop.map((back) => Math.max(1, step - back)),
      append: [...seqs].map((seq, index) => this.entryOf(seq, drawn.append[index])),
      remember: drawn.remember.map((id) => ({ ...idempotencyKey(id), seq: step })),
      forget: drawn.isRemoved ? keyIds : drawn.forget,
      addDue: drawn.addDue,
      removeDue: drawn.removeDue,
      changes: drawn.changes.map((kind) => this.changeOf(kind)),
    };
  }

  private recordOf({ devices }: Session) {
    return {
      generation: this.step % 3,
      lastSeq: this.step,
      devices: devices.map((id, at) => ({
        ...{ id, platform: "web", connect: at, ackedSeq: this.step, seenAtMs: 2 ** 41 },
        ...(at === 1 ? { attempts: this.step, triedSeq: this.step + 1 } : {}),
        ...(at === 0 && this.step % 3 === 1 ? { setAside: this.step } : {}),
      })),
      ...(this.step % 2 === 0 ? { announced: "online" as const } : {}),
    };
  }

  private entryOf(seq: number, drawn: Session["append"][number] | undefined) {
    const { bytes, head } = drawn ?? { bytes: 1, head: 0 };
    return entry(seq, {
      record: new Uint8Array(bytes).fill(this.step),
      ...(head === 1 ? { collapse: "k" } : {}),
      ...(head === 2 ? { target: { device: "phone" } } : {}),
      ...(head === 3 ? { target: {} } : {}),
    });
  }

  private changeOf(kind: number): Change {
    const { step } = this;
    const kinds: readonly Change[] = [
      { kind: "stored", seq: step, id: entry(step).id },
      { kind: "acked", device: "phone", seq: step },
      { kind: "dropped", seqs: [step, 2 ** 40], reason: "collapsed" },
      { kind: "device-added", device: "ä", platform: "" },
      { kind: "device-removed", device: "ä", reason: "replaced" },
      { kind: "acked", device: "phone", seq: step, ids: [entry(step).id] },
      { kind: "dropped", seqs: [step], reason: "set-aside", ids: [entry(step).id] },
      { kind: "announced", presence: "foreground" },
      { kind: "erased" },
      { kind: "dropped", seqs: [step], reason: "abandoned" },
      { kind: "opened", device: "ä", id: entry(step).id },
    ];
    return kinds[kind] as Change;
  }
}

/** Without the kinds of byte arrays, which are a store's own affair. */
function plain(value: unknown): unknown {
  return JSON.parse(
    JSON.stringify(value, (_, inner: unknown) =>
      inner instanceof Uint8Array || isBufferJson(inner)
        ? Buffer.from(inner as Uint8Array).toString("hex")
        : inner,
    ),
  );
}

/** A Buffer has become this before the replacer sees it. */
function isBufferJson(value: unknown): boolean {
  return typeof value === "object" && value !== null && "type" in value && value.type === "Buffer";
}
