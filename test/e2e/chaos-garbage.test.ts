/**
 * Bytes that nobody should send, on every subject that a node listens on and in every
 * record of the placement bucket: counted or told in the log, and the platform serves on.
 * What an operator then puts right is taken up again.
 */
import assert from "node:assert/strict";
import { randomBytes, randomInt } from "node:crypto";
import { after, before, describe, test } from "node:test";
import { leaderKey, tableKey } from "../../actors/membership.js";
import { NatsBus } from "../../src/drivers/nats-bus.js";
import { openKeyValue } from "../../src/drivers/nats-key-value.js";
import type { KeyValue } from "../../src/ports/key-value.js";
import { packValue, unpackValue } from "../../src/protocol/codec.js";
import { operatorSubject, pingSubject } from "../../src/protocol/subjects.js";
import { nodeKey } from "../../topology/node-record.js";
import {
  epochsOf,
  followerNames,
  forSomeLeases,
  leaderName,
  readTable,
  shardsOf,
  untilBalanced,
  usersIn,
} from "../support/placement-state.js";
import { type Platform, startPlatform } from "../support/platform.js";
import { RecordedLoad } from "../support/recorded-load.js";
import { msUntilServed } from "../support/service-probe.js";
import { memberOf } from "../support/settled-platform.js";
import { until } from "../support/until.js";

const nodes = ["a", "b", "c", "d"];
const usersNamed = (name: string) => Array.from({ length: 48 }, (_, at) => `${name}-${at}`);
const piecesEach = 100;

interface Broken {
  readonly what: string;
  readonly key: (platform: Platform) => Promise<string>;
  readonly bytes: (before: Uint8Array) => Uint8Array;
  /** By the log. */
  readonly told: RegExp;
}

const aTable = async () => tableKey;
const aLeader = async () => leaderKey;
const aNode = async (platform: Platform) => nodeKey(`dc1-${(await followerNames(platform))[0]}`);

const broken: readonly Broken[] = [
  { what: "a broken table", key: aTable, bytes: noise, told: /"key":"table".*is not readable/ },
  { what: "a table to come", key: aTable, bytes: newer, told: /"key":"table".*is not readable/ },
  {
    what: "a broken leader record",
    key: aLeader,
    bytes: noise,
    told: /"key":"leader".*is not readable/,
  },
  {
    what: "a leader record to come",
    key: aLeader,
    bytes: newer,
    told: /"key":"leader".*is not readable/,
  },
  {
    what: "a live node's broken record",
    key: aNode,
    bytes: noise,
    told: /"key":"node\..*is not readable/,
  },
];

test("serves on while every subject of its nodes is sent garbage", async (t) => {
  // By garbage a lease is lost at once or never; a busy machine may take a short one.
  const environment = { BELFRY_LEASE_MS: "10000" };
  await using platform = await startPlatform({ nodes, environment });
  await untilBalanced(platform);
  const pids = pidsOf(platform);
  const epochs = epochsOf(await readTable(platform));
  const users = usersNamed("user");
  await using load = await RecordedLoad.start(platform, { users });
  const bus = new NatsBus(platform.link);
  const subjects = await subjectsOf(platform);
  const overheard = await overhear(
    bus,
    subjects.filter((subject) => subject.endsWith(".actors")),
  );
  for (let piece = 0; piece < piecesEach; piece++) {
    for (const subject of subjects) {
      const bytes = piece % 2 === 0 ? noise() : torn(overheard);
      const reply = piece % 3 === 0 ? { reply: `_INBOX_node.garbage.${piece}` } : {};
      bus.publish(subject, bytes, reply);
    }
    await bus.flush();
  }
  await load.untilAnswered(2 * users.length);
  t.diagnostic(await load.settle());
  assert.deepEqual(pidsOf(platform), pids, "no process was lost");
  assert.deepEqual(epochsOf(await readTable(platform)), epochs, "no shard was given away");
});

describe("a placement record that does not read", () => {
  const log: string[] = [];
  let platform: Platform;
  before(async () => {
    platform = await startPlatform({
      nodes,
      environment: { BELFRY_LOG_LEVEL: "warn" },
      onLog: (node, line) => void log.push(`${node} ${line}`),
    });
    await untilBalanced(platform);
  });
  after(() => platform[Symbol.asyncDispose]());

  for (const [at, { what, key, bytes, told }] of broken.entries()) {
    test(`loses no service, no process and no push over ${what}`, async (t) => {
      // Their own: publishers begin anew, and keys are remembered.
      const users = usersNamed(`user-${at}`);
      await using load = await RecordedLoad.start(platform, { users });
      const bucket = await openKeyValue(platform.link, "placement");
      const pids = pidsOf(platform);
      const place = await key(platform);
      const [, bystander] = await followerNames(platform);
      log.length = 0;
      const before = await overwrite(bucket, place, bytes);
      await forSomeLeases(bucket, nodeKey(`dc1-${bystander}`));
      await load.untilAnswered(2 * users.length);
      await until("it is told", () => told.test(log.join("\n")));
      assert.deepEqual(pidsOf(platform), pids, "no process was lost");
      // Nobody writes over a table that does not read, or over what is to come: an operator does.
      const isLeft = place === tableKey || bytes === newer;
      if (isLeft) await overwrite(bucket, place, () => before);
      await leaderName(platform);
      t.diagnostic(await load.settle());
    });
  }

  test("places shards again afterwards", async (t) => {
    const [victim = ""] = await followerNames(platform);
    const probes = usersIn(await shardsOf(platform, victim), 16, "probe");
    const killedMs = performance.now();
    await platform.killNode(victim);
    const servedMs = await msUntilServed(platform, probes, killedMs);
    t.diagnostic(
      `${victim} was killed, and its shards served again ${servedMs.toFixed(0)} ms later`,
    );
  });
});

/** Whatever was written in between. Returns what stood there. */
async function overwrite(
  bucket: KeyValue,
  key: string,
  change: (before: Uint8Array) => Uint8Array,
): Promise<Uint8Array> {
  let before: Uint8Array | undefined;
  await until(`${key} is overwritten`, async () => {
    const entry = await bucket.get(key);
    if (entry === undefined) return undefined;
    before = entry.value;
    return (await bucket.update(key, change(entry.value), entry.revision)).ok;
  });
  return before as Uint8Array;
}

async function subjectsOf(platform: Platform): Promise<string[]> {
  const subjects = [
    "shard.7.push.demo.user-0",
    "shard.4095.x",
    "shard.7.push.demo",
    "shard.0.push.%.%",
  ];
  for (const name of platform.nodes.keys()) {
    const { nodeId, incarnation } = await memberOf(platform, name);
    subjects.push(
      `node.${nodeId}.${incarnation}.actors`,
      operatorSubject(nodeId, incarnation),
      pingSubject(nodeId, incarnation),
    );
  }
  return subjects;
}

/** Some of what nodes really say to each other. */
async function overhear(bus: NatsBus, subjects: readonly string[]): Promise<Uint8Array[]> {
  const heard: Uint8Array[] = [];
  const listening = subjects.map((subject) =>
    bus.subscribe(subject, ({ payload }) => void heard.push(payload.slice())),
  );
  await until("nodes talk", () => heard.length > 100);
  for (const subscription of listening) subscription.unsubscribe();
  return heard;
}

/** The same of a version that does not exist yet. */
function newer(before: Uint8Array): Uint8Array {
  return packValue({ ...(unpackValue(before) as object), v: 99 });
}

function noise(): Uint8Array {
  return randomBytes(randomInt(1, 400));
}

/** The beginning of something that was right. */
function torn(whole: readonly Uint8Array[]): Uint8Array {
  const bytes = whole[randomInt(whole.length)] as Uint8Array;
  return bytes.subarray(0, randomInt(bytes.length));
}

function pidsOf(platform: Platform): number[] {
  return [...platform.nodes.values()].map(({ pid }) => pid).sort();
}
