/** What every implementation of the lanes must do: run on memory, and on a real server. */
import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, test } from "node:test";
import { Fault } from "../../src/base/result.js";
import type { LaneFeed, LaneMessage, Lanes } from "../../src/ports/lanes.js";
import { type LaneRecord, laneRecordVersion } from "../../src/protocol/lane-record.js";
import {
  partitionCount,
  partitionsOfGroup,
  type SessionKey,
  sessionKey,
  shardOfKey,
} from "../../src/protocol/shards.js";
import { until } from "../support/until.js";

export interface LanesFixture {
  readonly lanes: Lanes;
  /** As a service does; rejects where no lane takes it. */
  publish(lane: string, key: SessionKey, payload: Uint8Array): Promise<unknown>;
  dispose(): Promise<void>;
}

const groupCount = 8;
const record: LaneRecord = { v: laneRecordVersion, lane: "high", weight: 1, workers: 1 };
const users = Array.from({ length: 40 }, (_, index) => sessionKey("demo", `u${index}`));
const group = shardOfKey(users[0] as SessionKey) % groupCount;
const ofGroup = users.filter((key) => shardOfKey(key) % groupCount === group);

class Taken {
  readonly messages: LaneMessage[] = [];
  readonly ends: string[] = [];
  feed: LaneFeed | undefined;

  constructor(private readonly acksAtOnce = false) {}

  onMessage(message: LaneMessage): void {
    this.messages.push(message);
    if (this.acksAtOnce) message.ack();
  }

  onEnd(reason: string): void {
    this.ends.push(reason);
  }

  texts(): string[] {
    return this.messages.map(({ payload }) => new TextDecoder().decode(payload));
  }
}

export function lanesContract(name: string, make: () => Promise<LanesFixture>): void {
  describe(`lanes: ${name}`, () => {
    let fixture: LanesFixture;
    let taken: Taken[] = [];

    beforeEach(async () => {
      fixture = await make();
      await fixture.lanes.ensure(record);
    });
    afterEach(async () => {
      for (const { feed } of taken) await feed?.close();
      taken = [];
      await fixture.dispose();
    });

    const take = async (epoch: number, { unackedMax = 100, of = group, acks = false } = {}) => {
      const receiver = new Taken(acks);
      const partitions = partitionsOfGroup(of, groupCount);
      const claim = { lane: "high", group: of, epoch, partitions, unackedMax };
      receiver.feed = await fixture.lanes.take(claim, receiver);
      taken.push(receiver);
      return receiver;
    };
    const publish = (text: string, key = ofGroup[0] as SessionKey, lane = "high") =>
      fixture.publish(lane, key, new TextEncoder().encode(text));
    const isEmpty = async () => (await fixture.lanes.figures("high"))?.messages === 0;

    test("gives each group what is of its partitions", async () => {
      for (const [at, key] of users.entries()) await publish(`${at}`, key);
      const all = await Promise.all(
        Array.from({ length: groupCount }, (_, of) => take(1, { of, acks: true })),
      );
      await until("the lane is empty", isEmpty);
      for (const [of, { messages }] of all.entries()) {
        const expected = users.filter((key) => shardOfKey(key) % groupCount === of);
        const byPlace = [...messages].sort((one, other) => one.sequence - other.sequence);
        assert.deepEqual(
          byPlace.map(({ key }) => key),
          expected,
        );
      }
      assert.ok(new Set(users.map((key) => shardOfKey(key) % partitionCount)).size > groupCount);
    });

    test("forgets what waits for one user, and the user's dead letters of any lane", async () => {
      const [gone, stays] = ofGroup as [SessionKey, SessionKey];
      for (const [at, key] of [gone, stays].entries()) {
        await publish("a", key);
        for (const lane of ["high", "gone"]) {
          const payload = new TextEncoder().encode("b");
          const died = { code: "INBOX_FULL", message: "", attempts: 1 };
          await fixture.lanes.bury({ lane, key, payload, sequence: at, storedAtMs: 7, ...died });
        }
      }
      await fixture.lanes.forget(["high", "never-made"], gone);
      await fixture.lanes.forget(["high"], gone);
      const later = await take(1, { acks: true });
      await until("the other's comes", () => later.messages.length === 1);
      assert.equal(later.messages[0]?.key, stays);
      for (const lane of ["high", "gone"]) {
        const letters = await fixture.lanes.deadLetters(lane, 10);
        assert.ok(letters.some(({ key }) => key === stays));
        assert.ok(letters.every(({ key }) => key !== gone));
      }
    });

    test("a later taker gets what is not acked, in order, and the former one no more", async () => {
      for (const text of ["a", "b", "c", "d"]) await publish(text);
      const former = await take(1, { unackedMax: 3 });
      await until("three are given", () => former.messages.length === 3);
      former.messages[1]?.ack();
      await until("the fourth follows", () => former.messages.length === 4);
      await until(
        "one is acked",
        async () => (await fixture.lanes.figures("high"))?.messages === 3,
      );
      const later = await take(2);
      await until("the rest comes again", () => later.messages.length === 3);
      assert.deepEqual(later.texts(), ["a", "c", "d"]);
      await until("the former one hears of it", () => former.ends.length === 1);
      await publish("e");
      await until("what is new comes", () => later.messages.length === 4);
      assert.equal(former.messages.length, 4);
      await assert.rejects(
        take(1),
        (fault) => fault instanceof Fault && fault.code === "LANE_TAKEN",
      );
    });

    test("the same owner takes again after a crash, under the same epoch", async () => {
      await publish("a");
      const first = await take(3);
      await until("it is given", () => first.messages.length === 1);
      const second = await take(3);
      await until("it is given again", () => second.messages.length === 1);
      assert.equal(second.messages[0]?.sequence, first.messages[0]?.sequence);
      assert.equal(second.messages[0]?.storedAtMs, first.messages[0]?.storedAtMs);
    });

    test("gives no more than may be unacked", async () => {
      for (const text of ["a", "b", "c"]) await publish(text);
      const taker = await take(1, { unackedMax: 2 });
      await until("two are given", () => taker.messages.length === 2);
      taker.messages[0]?.ack();
      await until("the third follows the ack", () => taker.messages.length === 3);
    });

    test("gives more when it is widened, and what was given is read again", async () => {
      for (const text of ["a", "b", "c", "d"]) await publish(text);
      const taker = await take(1, { unackedMax: 1 });
      await until("one is given", () => taker.messages.length === 1);
      const partition = shardOfKey(ofGroup[0] as SessionKey) % partitionCount;
      await taker.feed?.widen(partition, 3);
      await until("two more are given", () => taker.messages.length === 3);
      const sequences = taker.messages.map(({ sequence }) => sequence);
      const again = await Promise.all(sequences.map((each) => fixture.lanes.read("high", each)));
      assert.deepEqual(
        again.map((payload) => new TextDecoder().decode(payload)),
        ["a", "b", "c"],
      );
      await taker.feed?.widen(partition, 1);
      for (const { ack } of taker.messages) ack();
      await until("the last one follows", () => taker.messages.length === 4);
      const [first = 0] = sequences;
      await until(
        "what was acked is gone",
        async () => (await fixture.lanes.read("high", first)) === undefined,
      );
    });

    test("takes nothing for a lane that does not exist, nor for another app's", async () => {
      await assert.rejects(publish("x", ofGroup[0], "none"));
      await fixture.lanes.ensure({ ...record, lane: "vip", app: "other" });
      await assert.rejects(publish("x", ofGroup[0], "vip"));
      await publish("x", sessionKey("other", "u1"), "vip");
      assert.equal((await fixture.lanes.figures("vip"))?.messages, 1);
      assert.equal(await fixture.lanes.figures("none"), undefined);
    });

    test("keeps a dead letter once, shows it, and replays it at the end of its lane", async () => {
      await publish("old");
      const taker = await take(1);
      await until("it is given", () => taker.messages.length === 1);
      const [dead] = taker.messages as [LaneMessage];
      const { key, payload, sequence, storedAtMs } = dead;
      const why = { code: "BAD_COMMAND", message: "kein „Körper“", attempts: 2 };
      const letter = { lane: "high", key, payload, sequence, storedAtMs, ...why };
      await fixture.lanes.bury(letter);
      await fixture.lanes.bury(letter);
      dead.ack();
      const letters = await fixture.lanes.deadLetters("high", 10);
      assert.equal(letters.length, 1);
      const { number = 0, diedAtMs = 0, payload: kept, ...rest } = letters[0] ?? {};
      assert.deepEqual(
        { ...rest, payload: [...(kept ?? [])] },
        { ...letter, payload: [...payload] },
      );
      assert.ok(diedAtMs > 0);
      assert.deepEqual(await fixture.lanes.deadLetters("normal", 10), []);
      assert.equal((await fixture.lanes.figures("high"))?.deadLetters, 1);
      assert.equal(await fixture.lanes.replay("high", number + 1), false);
      assert.equal(await fixture.lanes.replay("normal", number), false);
      assert.equal(await fixture.lanes.replay("high", number), true);
      await until("it comes again", () => taker.messages.length === 2);
      assert.equal(taker.texts()[1], "old");
      assert.ok((taker.messages[1]?.sequence ?? 0) > sequence);
      assert.equal(await fixture.lanes.replay("high", number), false);
    });

    test("dropped again and again, it brings nothing back of what waited in it", async () => {
      for (let round = 0; round < 30; round++) {
        await fixture.lanes.ensure(record);
        for (const text of ["a", "b", "c"]) await publish(text);
        assert.equal((await fixture.lanes.figures("high"))?.messages, 3, `round ${round}`);
        await fixture.lanes.drop("high");
      }
    });

    test("a dropped lane is gone with what waits in it, and begins anew", async () => {
      await publish("a");
      const taker = await take(1);
      await until("it is given", () => taker.messages.length === 1);
      await fixture.lanes.drop("high");
      await fixture.lanes.drop("high");
      await assert.rejects(publish("b"));
      await until("its taker hears of it", () => taker.ends.length === 1);
      await fixture.lanes.ensure(record);
      await fixture.lanes.ensure(record);
      await publish("c");
      const next = await take(1);
      await until("what is new is given", () => next.messages.length === 1);
      assert.deepEqual(next.texts(), ["c"]);
    });
  });
}
