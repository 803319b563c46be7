/** What every KeyValue keeps (src/ports/key-value.ts). Run by one file a driver. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import type { KeyValue } from "../../src/ports/key-value.js";
import { until } from "../support/until.js";

export interface KeyValueFixture {
  /** An empty one each time. */
  make(): Promise<KeyValue>;
  dispose(): Promise<void>;
}

export function keyValueContract(name: string, start: () => Promise<KeyValueFixture>): void {
  describe(`key-value: ${name}`, () => {
    let fixture: KeyValueFixture;
    before(async () => {
      fixture = await start();
    });
    after(() => fixture.dispose());
    const make = () => fixture.make();
    compareAndSetContract(make);
    listContract(make);
    watchContract(make);
  });
}

type Make = () => Promise<KeyValue>;

function compareAndSetContract(make: Make): void {
  test("a key never written is absent", async () => {
    const kv = await make();
    assert.equal(await kv.get("nobody"), undefined);
  });

  test("create stores once and is refused while the key exists", async () => {
    const kv = await make();
    const revision = revisionOf(await kv.create("lease", bytes("a")));
    assert.deepEqual(plain(await kv.get("lease")), { key: "lease", value: "a", revision });
    assert.equal(codeOf(await kv.create("lease", bytes("b"))), "CONFLICT");
    assert.equal(plain(await kv.get("lease"))?.value, "a");
  });

  test("update follows exactly the last revision", async () => {
    const kv = await make();
    const first = revisionOf(await kv.create("table", bytes("1")));
    const second = revisionOf(await kv.update("table", bytes("2"), first));
    assert.ok(second > first);
    assert.equal(codeOf(await kv.update("table", bytes("3"), first)), "CONFLICT");
    assert.equal(codeOf(await kv.update("table", bytes("3"), second + 1)), "CONFLICT");
    assert.equal(codeOf(await kv.update("other", bytes("3"), second)), "CONFLICT");
    assert.deepEqual(plain(await kv.get("table")), { key: "table", value: "2", revision: second });
  });

  test("of many updates of one revision exactly one passes", async () => {
    const kv = await make();
    const first = revisionOf(await kv.create("race", bytes("0")));
    const writers = Array.from({ length: 20 }, (_, at) => kv.update("race", bytes(`${at}`), first));
    const passed = (await Promise.all(writers)).filter(({ ok }) => ok);
    assert.equal(passed.length, 1);
  });

  test("a deleted key is absent and can be created again", async () => {
    const kv = await make();
    const first = revisionOf(await kv.create("node", bytes("1")));
    assert.equal((await kv.delete("node", first + 1)).ok, false);
    assert.equal(plain(await kv.get("node"))?.value, "1");
    assert.ok((await kv.delete("node", first)).ok);
    assert.equal((await kv.delete("never", 1)).ok, false);
    assert.equal(await kv.get("node"), undefined);
    assert.equal(codeOf(await kv.update("node", bytes("2"), first)), "CONFLICT");
    const again = revisionOf(await kv.create("node", bytes("3")));
    assert.ok(again > first);
    assert.equal(plain(await kv.get("node"))?.value, "3");
  });

  test("large and empty values come back whole", async () => {
    const kv = await make();
    const large = Uint8Array.from({ length: 500_000 }, (_, at) => at % 251);
    await kv.create("large", large);
    await kv.create("empty", new Uint8Array());
    assert.ok(Buffer.from(large).equals((await kv.get("large"))?.value ?? new Uint8Array()));
    assert.equal((await kv.get("empty"))?.value.length, 0);
  });
}

function listContract(make: Make): void {
  test("list gives the present keys under a prefix, whole tokens or not", async () => {
    const kv = await make();
    assert.deepEqual(await kv.list(""), []);
    for (const key of ["node.a", "node.ab", "nodes", "apps.x"]) await kv.create(key, bytes(key));
    await kv.delete("node.b", revisionOf(await kv.create("node.b", bytes("1"))));
    await untilListed(kv, "node.", ["node.a", "node.ab"]);
    await untilListed(kv, "node.a", ["node.a", "node.ab"]);
    await untilListed(kv, "node", ["node.a", "node.ab", "nodes"]);
    await untilListed(kv, "", ["apps.x", "node.a", "node.ab", "nodes"]);
    await untilListed(kv, "none.", []);
  });

  test("keys carry every character of a token", async () => {
    const kv = await make();
    const names = ["app.a%20b", "app.~!$&'()+,;=:@-_", "app.=41", "app.A"];
    for (const key of names) assert.ok((await kv.create(key, bytes(key))).ok, key);
    for (const key of names) assert.equal(plain(await kv.get(key))?.key, key);
    await untilListed(kv, "app.", names);
  });
}

/** On a cluster a list may lag behind what was written. Each key holds its own name. */
function untilListed(kv: KeyValue, prefix: string, keys: readonly string[]): Promise<unknown> {
  const wanted = keys.map((key) => `${key}=${key}`).sort();
  return until(`${prefix} lists ${wanted.join(", ")}`, async () => {
    const listed = await kv.list(prefix);
    const shown = listed.map(({ key, value }) => `${key}=${text(value)}`).sort();
    return JSON.stringify(shown) === JSON.stringify(wanted);
  });
}

function watchContract(make: Make): void {
  test("a watch tells what is present, then every change, and deletes as undefined", async () => {
    const kv = await make();
    const first = revisionOf(await kv.create("node.a", bytes("1")));
    const second = revisionOf(await kv.create("node.b", bytes("1")));
    await kv.create("app.x", bytes("1"));
    await kv.delete("node.b", second);
    const seen = await follow(kv, "node.");
    await until("the present key is told", () => seen.told.includes("node.a=1"));
    const created = revisionOf(await kv.create("node.c", bytes("1")));
    await kv.update("node.c", bytes("2"), created);
    await kv.delete("node.a", first);
    await kv.create("app.y", bytes("1"));
    await kv.create("node.end", bytes("1"));
    await until("the last change is told", () => seen.told.includes("node.end=1"));
    seen.stop();
    // A key that was deleted before may be told as gone.
    const told = seen.told.filter((change) => change !== "node.b gone");
    assert.deepEqual(told, ["node.a=1", "node.c=1", "node.c=2", "node.a gone", "node.end=1"]);
  });

  test("a watch of nothing tells what comes", async () => {
    const kv = await make();
    const seen = await follow(kv, "node.");
    await kv.create("node.a", bytes("1"));
    await until("the new key is told", () => seen.told.length > 0);
    assert.deepEqual(seen.told, ["node.a=1"]);
    seen.stop();
  });

  test("a stopped watch tells nothing more", async () => {
    const kv = await make();
    const stopped = await follow(kv, "");
    const other = await follow(kv, "");
    stopped.stop();
    await kv.create("a", bytes("1"));
    await until("the other watch is told", () => other.told.length > 0);
    assert.deepEqual(stopped.told, []);
    other.stop();
  });
}

async function follow(kv: KeyValue, prefix: string) {
  const told: string[] = [];
  const stop = await kv.watch(prefix, (key, entry) => {
    told.push(entry === undefined ? `${key} gone` : `${key}=${text(entry.value)}`);
  });
  return { told, stop };
}

function bytes(value: string): Uint8Array {
  return new TextEncoder().encode(value);
}

function text(value: Uint8Array): string {
  return new TextDecoder().decode(value);
}

function plain(entry: Awaited<ReturnType<KeyValue["get"]>>) {
  if (entry === undefined) return undefined;
  return { key: entry.key, value: text(entry.value), revision: entry.revision };
}

type Written = Awaited<ReturnType<KeyValue["create"]>>;

function revisionOf(written: Written): number {
  assert.ok(written.ok, "the write is accepted");
  return written.value;
}

function codeOf(written: Written): string | undefined {
  return written.ok ? undefined : written.code;
}
