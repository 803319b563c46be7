/** Who is found to have something due, while what was given stays due. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { DueSweep } from "../../actors/due-sweep.js";
import type { Due, InboxGroup } from "../../src/ports/inbox-store.js";
import { type SessionKey, type Shard, sessionKey } from "../../src/protocol/shards.js";

const shard = 1 as Shard;
const [stuck, served] = [sessionKey("demo", "stuck"), sessionKey("demo", "served")];

const dueOf = (key: SessionKey, count: number, fromMs: number): Due[] =>
  Array.from({ length: count }, (_, at) => ({ atMs: fromMs + at, key }));

/** One shard whose rows leave when they are given, but for those of `stuck`. */
class Scene {
  readonly given: Due[][] = [];
  readMax = 0;
  private readonly sweep: DueSweep;

  constructor(private rows: Due[]) {
    const readDue: InboxGroup["readDue"] = async (_, untilMs, countMax) => {
      this.readMax = Math.max(this.readMax, countMax);
      return this.rows.filter(({ atMs }) => atMs <= untilMs).slice(0, countMax);
    };
    this.sweep = new DueSweep({ readDue } as InboxGroup, [shard], 0);
  }

  async look(times = 1): Promise<void> {
    for (let time = 0; time < times; time++) {
      const page: Due[] = [];
      await this.sweep.look(1_000_000, (_, key, atMs) => page.push({ atMs, key }));
      this.given.push(page);
      this.rows = this.rows.filter((row) => row.key === stuck || !includes(page, row));
    }
  }

  get left(): number {
    return this.rows.filter(({ key }) => key === served).length;
  }

  get sizes(): number[] {
    return this.given.map((page) => page.length);
  }
}

const includes = (page: readonly Due[], row: Due) =>
  page.some(({ atMs, key }) => atMs === row.atMs && key === row.key);

test("what is behind a page that stays is given, and the page again after it", async () => {
  const scene = new Scene([...dueOf(stuck, 64, 1), ...dueOf(served, 1, 100)]);
  await scene.look(4);
  assert.equal(scene.left, 0);
  assert.deepEqual(scene.sizes, [64, 1, 64, 0]);
  await scene.look();
  assert.deepEqual(scene.given[4], scene.given[0]);
});

test("what leaves when it is given is given once, a page at each look", async () => {
  const scene = new Scene(dueOf(served, 1_000, 1));
  await scene.look(17);
  assert.deepEqual(new Set(scene.given.flat().map(({ atMs }) => atMs)).size, 1_000);
  assert.deepEqual(scene.sizes, [...Array(15).fill(64), 40, 0]);
  assert.ok(scene.readMax <= 128, `${scene.readMax} rows asked for at once`);
});

test("users with something due at one time are all given", async () => {
  const keys = Array.from({ length: 200 }, (_, at) => sessionKey("demo", `u${1_000 + at}`));
  const users = keys.map((key) => ({ atMs: 7, key }));
  const scene = new Scene([...dueOf(stuck, 3, 1), ...users]);
  await scene.look(4);
  const given = new Set(scene.given.flat().map(({ key }) => key));
  assert.ok(keys.every((key) => given.has(key)));
});

test("a round ends after 4,096 rows, and the oldest have their turn again", async () => {
  const scene = new Scene([...dueOf(stuck, 4_000, 1), ...dueOf(served, 1_000, 5_000)]);
  await scene.look(64);
  assert.equal(scene.left, 904);
  await scene.look();
  assert.deepEqual(scene.given[64], scene.given[0]);
  assert.equal(scene.readMax, 4_096);
});
