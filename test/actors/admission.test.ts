/** What a node refuses at its door, on virtual time: rates, quotas, a store that is slow or hangs. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { defaultLimits, type Limits } from "../../actors/limits.js";
import { MemoryInbox } from "../../src/drivers/memory-inbox.js";
import type { PushAnswer } from "../../src/protocol/push-answer.js";
import { shardOf } from "../../src/protocol/shards.js";
import { ShardBench } from "../support/shard-bench.js";
import { TroubledStore } from "../support/troubled-store.js";

const { commitDrainMs, commitSlowMs, requestDeadlineMs, userPushesPerSecond } = defaultLimits;

const groupCount = 8;
const allGroups = Array.from({ length: groupCount }, (_, group) => group);

/** So many users whose shards are all in the first group. */
function usersOfOneGroup(wanted: number): string[] {
  const inbox = new MemoryInbox(groupCount);
  const users = Array.from({ length: wanted * 50 }, (_, at) => `u${at}`);
  const own = users.filter((uid) => inbox.groupOf(shardOf("demo", uid)) === 0);
  return own.slice(0, wanted);
}

const codes = (answers: readonly PushAnswer[]) =>
  answers.map((answer) => (answer.ok ? "ok" : answer.code));

const count = (answers: readonly PushAnswer[], code: string) =>
  codes(answers).filter((each) => each === code).length;

/** What has been answered so far, and when. */
class Answers {
  readonly came: { readonly answer: PushAnswer; readonly tookMs: number; readonly tag: string }[] =
    [];
  sent = 0;

  constructor(private readonly bench: ShardBench) {}

  push(uid: string, command: object, tag = ""): void {
    const sentMs = this.bench.clock.monotonicMs();
    this.sent++;
    void this.bench.push(uid, command).then((answer) => {
      this.came.push({ answer, tag, tookMs: this.bench.clock.monotonicMs() - sentMs });
    });
  }

  codesOf(tag: string): string[] {
    return codes(this.came.filter((each) => each.tag === tag).map(({ answer }) => answer));
  }
}

async function troubled(limits: Partial<Limits> = {}, closed: readonly number[] = []) {
  const inbox = new MemoryInbox(groupCount);
  const store = new TroubledStore(inbox);
  for (const group of closed) store.closedToOpening.add(group);
  const bench = await ShardBench.start(limits, inbox, 0, store);
  return { bench, store };
}

describe("an app's rate", () => {
  test("refuses what is above it, says for how long, and leaves other apps alone", async () => {
    const bench = await ShardBench.start();
    bench.appLimits = { pushesPerSecond: 10 };
    const demo = Array.from({ length: 30 }, (_, at) => bench.push(`u${at}`, { body: at }));
    const other = Array.from({ length: 30 }, (_, at) =>
      bench.push(`u${at}`, { body: at }, "other"),
    );
    await bench.clock.advanceAndSettle(10);
    const answers = await Promise.all(demo);
    assert.equal(count(answers, "ok"), 10);
    assert.equal(count(answers, "RATE_LIMITED"), 20);
    const refused = answers.find((answer) => !answer.ok);
    assert.ok(refused?.ok === false && refused.retryable);
    assert.ok(Math.abs((refused.retryAfterMs ?? 0) - 100) <= 10, `${refused.retryAfterMs}`);
    assert.equal(count(await Promise.all(other), "ok"), 30);
    await bench.clock.advanceAndSettle(refused.retryAfterMs ?? 0);
    assert.deepEqual(codes(await bench.pushAll("u1", [{ body: 1 }, { body: 2 }])), [
      "ok",
      "RATE_LIMITED",
    ]);
  });

  test("of 0 lets nothing through", async () => {
    const bench = await ShardBench.start();
    bench.appLimits = { pushesPerSecond: 0 };
    assert.deepEqual(codes(await bench.pushAll("u1", [{ body: 1 }])), ["RATE_LIMITED"]);
  });
});

describe("a user's rate", () => {
  test("holds one who is pushed at 10,000/s to the limit, and takes nothing from the others", async () => {
    const bench = await ShardBench.start();
    bench.appLimits = { pushesPerSecond: 5_000 };
    const flood: Promise<PushAnswer>[] = [];
    const others: Promise<PushAnswer>[] = [];
    for (let tick = 0; tick < 300; tick++) {
      for (let at = 0; at < 100; at++) flood.push(bench.push("star", { body: at, qos: 0 }));
      others.push(bench.push(`u${tick}`, { body: tick }));
      await bench.clock.advanceAndSettle(10);
    }
    await bench.clock.advanceAndSettle(50);
    const passed = count(await Promise.all(flood), "ok");
    const most = 5 * userPushesPerSecond + 10;
    assert.ok(passed <= most && passed >= 0.9 * most, `${passed} of ${flood.length}`);
    assert.equal(count(await Promise.all(others), "ok"), 300);
  });

  test("may be set lower by the app", async () => {
    const bench = await ShardBench.start();
    bench.appLimits = { pushesPerSecondPerUser: 1 };
    const commands = [1, 2, 3].map((body) => ({ body }));
    assert.deepEqual(codes(await bench.pushAll("u1", commands)), ["ok", "ok", "RATE_LIMITED"]);
    assert.deepEqual(codes(await bench.pushAll("u2", [{ body: 1 }])), ["ok"]);
  });
});

describe("a store that hangs", () => {
  test("lets no request wait past its deadline, and answers none twice", async () => {
    const { bench, store } = await troubled();
    await bench.attach("u1", 7);
    store.stall();
    const answered: string[] = [];
    const reply = "_INBOX.twice";
    bench.bus.subscribe(reply, () => void answered.push("answer"));
    const answers = new Answers(bench);
    answers.push("u1", { body: "hangs", id: "k1" });
    bench.publishWith("u1", { body: "once" }, reply);
    await bench.clock.advanceAndSettle(requestDeadlineMs);
    assert.deepEqual(answers.codesOf(""), ["STORE_UNAVAILABLE"]);
    assert.ok((answers.came[0]?.tookMs ?? 0) <= requestDeadlineMs);
    store.goOn();
    await bench.clock.advanceAndSettle(2_000);
    assert.deepEqual(bench.bodies(7), ["hangs", "once"]);
    assert.deepEqual(answered, ["answer"]);
    const again = await bench.pushAll("u1", [{ body: "hangs", id: "k1" }]);
    assert.equal(again[0]?.ok && again[0].duplicate, true);
    assert.deepEqual(bench.crashes, []);
  });

  test("has what needs it refused at once, and lets at-most-once messages go on", async () => {
    const { bench, store } = await troubled();
    await bench.attach("u1", 7);
    store.stall();
    const answers = new Answers(bench);
    answers.push("u1", { body: 1 });
    await bench.clock.advanceAndSettle(commitSlowMs + 10);
    answers.push("u1", { body: 2 }, "late");
    answers.push("u1", { body: 3, qos: 0, id: "keyed" }, "late");
    answers.push("u1", { body: 4, qos: 0 }, "passing");
    await bench.clock.advanceAndSettle(10);
    assert.deepEqual(answers.codesOf("late"), ["STORE_UNAVAILABLE", "STORE_UNAVAILABLE"]);
    assert.deepEqual(answers.codesOf("passing"), ["ok"]);
    store.goOn();
    // The group's own probe, within a second, closes the circuit.
    await bench.clock.advanceAndSettle(1_500);
    assert.deepEqual(codes(await bench.pushAll("u1", [{ body: 5 }])), ["ok"]);
    assert.deepEqual(bench.bodies(7), [1, 5]);
  });

  test("for 30 s holds no at-most-once message for want of an id", async () => {
    const { bench, store } = await troubled();
    await bench.attach("u1", 7);
    assert.deepEqual(codes(await bench.pushAll("u1", [{ body: 1 }])), ["ok"]);
    // Until shortly before the reservation would have been made longer.
    await bench.clock.advanceAndSettle(defaultLimits.reserveMs / 2 - 1_000);
    store.stall();
    const answers = new Answers(bench);
    for (let at = 0; at < 30; at++) {
      answers.push("u1", { body: at, qos: 0 });
      await bench.clock.advanceAndSettle(1_000);
    }
    assert.deepEqual(answers.codesOf(""), Array(30).fill("ok"));
  });

  test("does not hold the pushes of users whose session cannot be read, past their deadline", async () => {
    const { bench, store } = await troubled();
    await bench.attach("known", 7);
    store.stallsReads = true;
    store.stall();
    const answers = new Answers(bench);
    answers.push("unknown", { body: 1 }, "unread");
    await bench.clock.advanceAndSettle(2_500);
    // The group asks the store each second what is due: its mailbox does not wait for that.
    answers.push("known", { body: 2, qos: 0 }, "passing");
    await bench.clock.advanceAndSettle(10);
    assert.deepEqual(answers.codesOf("passing"), ["ok"]);
    await bench.clock.advanceAndSettle(requestDeadlineMs - 2_510);
    assert.deepEqual(answers.codesOf("unread"), ["STORE_UNAVAILABLE"]);
  });
});

describe("a store that fails whenever it is tried", () => {
  test("has pushes refused at once while its group cannot begin, and served when it can", async () => {
    const { bench, store } = await troubled({}, allGroups);
    await bench.clock.advanceAndSettle(3_000);
    const answers = new Answers(bench);
    answers.push("u1", { body: 1 });
    await bench.clock.advanceAndSettle(10);
    assert.deepEqual(answers.codesOf(""), ["STORE_UNAVAILABLE"]);
    store.closedToOpening.clear();
    await bench.clock.advanceAndSettle(6_000);
    assert.deepEqual(codes(await bench.pushAll("u1", [{ body: 2 }])), ["ok"]);
  });
});

describe("a store that has half of what is asked of it", () => {
  test("does what it can in time, and has the rest refused at once, low first", async () => {
    const { bench, store } = await troubled();
    const users = usersOfOneGroup(50);
    // Up to 1,000 a second.
    store.pace = { clock: bench.clock, takesMs: (entries) => 20 + entries };
    const answers = new Answers(bench);
    const priorities = ["low", "normal", "high"] as const;
    const seconds = 20;
    for (let tick = 0; tick < seconds * 20; tick++) {
      // 600, 600 and 800 a second.
      for (let at = 0; at < 100; at++) {
        const priority = priorities[at < 30 ? 0 : at < 60 ? 1 : 2] as string;
        answers.push(users[at % users.length] as string, { body: at, priority }, priority);
      }
      await bench.clock.advanceAndSettle(50);
    }
    await bench.clock.advanceAndSettle(2 * requestDeadlineMs);
    assert.equal(answers.came.length, answers.sent);
    // From the fifth second on, when the bound has found what the store does.
    const settled = answers.came.slice(answers.sent / 4);
    const accepted = settled.filter(({ answer }) => answer.ok);
    const perSecond = accepted.length / (seconds * 0.75);
    assert.ok(perSecond >= 700 && perSecond <= 1_100, `${perSecond}/s`);
    const slowest = Math.max(...settled.map(({ tookMs }) => tookMs));
    assert.ok(slowest <= 2 * commitDrainMs, `${slowest} ms`);
    const refused = settled.filter(({ answer }) => !answer.ok);
    assert.ok(refused.every(({ answer }) => !answer.ok && answer.retryable));
    const share = (priority: string) => {
      const own = settled.filter(({ tag }) => tag === priority);
      return own.filter(({ answer }) => answer.ok).length / own.length;
    };
    const shares = priorities.map(share);
    assert.deepEqual(shares, [...shares].sort(), shares.join());
    assert.ok((shares[2] ?? 0) > (shares[0] ?? 0) + 0.2, shares.join());
    assert.deepEqual(bench.crashes, []);
  });
});

describe("an app's inbox quota", () => {
  test("refuses what would be stored beyond it, until devices have acked", async () => {
    const bench = await ShardBench.start();
    bench.appLimits = { inboxBytes: 5_000 };
    const body = "x".repeat(1_000);
    const all: PushAnswer[] = [];
    for (let round = 0; round < 8; round++) {
      all.push(...(await bench.pushAll("u1", [{ body }])));
      await bench.clock.advanceAndSettle(1_500);
    }
    assert.deepEqual(codes(all), [...Array(5).fill("ok"), ...Array(3).fill("QUOTA_EXCEEDED")]);
    assert.deepEqual(codes(await bench.pushAll("u1", [{ body, qos: 0 }])), ["ok"]);
    await bench.attach("u1", 7);
    await bench.ack("u1", 7, 4);
    await bench.clock.advanceAndSettle(1_500);
    assert.deepEqual(codes(await bench.pushAll("u1", [{ body }])), ["ok"]);
  });
});
