/** What every Bus keeps (src/runtime/ports.ts). Run by one file a driver. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import type { Bus, BusMessage } from "../../src/runtime/ports.js";
import { until } from "../support/until.js";

export interface BusFixture {
  /** Two ends of one bus; may be the same object. */
  readonly near: Bus;
  readonly far: Bus;
  /** Subjects under this are free to use. */
  readonly base: string;
  dispose(): Promise<void>;
}

export function busContract(name: string, start: () => Promise<BusFixture>): void {
  describe(`bus: ${name}`, () => {
    let fixture: BusFixture;
    before(async () => {
      fixture = await start();
    });
    after(() => fixture.dispose());
    publishContract(() => fixture);
    requestContract(() => fixture);
  });
}

type Current = () => BusFixture;

function publishContract(current: Current): void {
  test("a message reaches each subscriber, in order, with its subject and reply", async () => {
    const { near, far, base } = current();
    const first = collect(far, `${base}.order`);
    const second = collect(far, `${base}.order`);
    await far.flush();
    for (let at = 0; at < 100; at++) near.publish(`${base}.order`, bytes(`${at}`));
    near.publish(`${base}.order`, bytes("end"), { reply: `${base}.answer` });
    for (const { messages } of [first, second]) {
      await until("all arrived", () => messages.length === 101);
      const expected = [...Array.from({ length: 100 }, (_, at) => `${at}`), "end"];
      assert.deepEqual(
        messages.map(({ payload }) => text(payload)),
        expected,
      );
      assert.equal(messages[0]?.subject, `${base}.order`);
      assert.equal(messages[0]?.reply, undefined);
      assert.equal(messages[100]?.reply, `${base}.answer`);
    }
    first.unsubscribe();
    second.unsubscribe();
  });

  test("delivery is never inside the call to publish", async () => {
    const { near, base } = current();
    const { messages, unsubscribe } = collect(near, `${base}.later`);
    await near.flush();
    near.publish(`${base}.later`, bytes("x"));
    assert.equal(messages.length, 0);
    await until("it arrived", () => messages.length === 1);
    unsubscribe();
  });

  test("wildcards match as NATS's do", async () => {
    const { near, far, base } = current();
    const cases: readonly [pattern: string, matches: readonly string[]][] = [
      [`${base}.w.*`, ["w.a", "w.b"]],
      [`${base}.w.*.c`, ["w.a.c"]],
      [`${base}.w.>`, ["w.a", "w.b", "w.a.c", "w.a.c.d"]],
      [`${base}.w.a`, ["w.a"]],
      [`${base}.*.a.>`, ["w.a.c", "w.a.c.d"]],
    ];
    const collected = cases.map(([pattern]) => collect(far, pattern));
    const end = collect(far, `${base}.w-end`);
    await far.flush();
    for (const subject of ["w", "w.a", "w.b", "w.a.c", "w.a.c.d", "v.b"]) {
      near.publish(`${base}.${subject}`, bytes("x"));
    }
    near.publish(`${base}.w-end`, bytes("x"));
    await until("the last arrived", () => end.messages.length === 1);
    for (const [at, [pattern, matches]] of cases.entries()) {
      const subjects = collected[at]?.messages.map(({ subject }) => subject);
      assert.deepEqual(
        subjects,
        matches.map((match) => `${base}.${match}`),
        pattern,
      );
      collected[at]?.unsubscribe();
    }
    end.unsubscribe();
  });

  test("an unsubscribed callback hears nothing more", async () => {
    const { near, far, base } = current();
    const gone = collect(far, `${base}.gone`);
    const other = collect(far, `${base}.gone`);
    await far.flush();
    gone.unsubscribe();
    gone.unsubscribe();
    near.publish(`${base}.gone`, bytes("x"));
    await until("the other heard it", () => other.messages.length === 1);
    assert.equal(gone.messages.length, 0);
    other.unsubscribe();
  });

  test("a payload is the callee's to keep and to change", async () => {
    const { near, far, base } = current();
    const one = collect(far, `${base}.own`);
    const two = collect(far, `${base}.own`);
    await far.flush();
    const sent = bytes("first");
    near.publish(`${base}.own`, sent);
    await until("it arrived", () => one.messages.length === 1 && two.messages.length === 1);
    one.messages[0]?.payload.fill(0);
    for (let at = 0; at < 500; at++) near.publish(`${base}.own`, new Uint8Array(2_000).fill(at));
    await until("the rest arrived", () => two.messages.length === 501);
    assert.equal(text(two.messages[0]?.payload ?? bytes("")), "first");
    assert.equal(text(sent), "first");
    one.unsubscribe();
    two.unsubscribe();
  });

  test("the largest payload passes, one byte more is a bug", async () => {
    const { near, far, base } = current();
    const big = collect(far, `${base}.big`);
    await far.flush();
    near.publish(`${base}.big`, new Uint8Array(near.payloadMax));
    assert.throws(() => near.publish(`${base}.big`, new Uint8Array(near.payloadMax + 1)));
    await until("it arrived", () => big.messages.length === 1);
    assert.equal(big.messages[0]?.payload.length, near.payloadMax);
    big.unsubscribe();
  });
}

function requestContract(current: Current): void {
  test("a request is answered by who serves the subject", async () => {
    const { near, far, base } = current();
    const server = far.subscribe(`${base}.echo`, ({ payload, reply }) => {
      assert.ok(reply !== undefined);
      far.publish(reply, bytes(`${text(payload)}!`));
    });
    await far.flush();
    const asks = ["a", "b", "c"].map((ask) => near.request(`${base}.echo`, bytes(ask), 5_000));
    assert.deepEqual((await Promise.all(asks)).map(text), ["a!", "b!", "c!"]);
    server.unsubscribe();
  });

  test("an empty answer is an answer", async () => {
    const { near, far, base } = current();
    const server = far.subscribe(`${base}.empty`, ({ reply }) => {
      far.publish(reply ?? "", new Uint8Array());
    });
    await far.flush();
    assert.equal((await near.request(`${base}.empty`, bytes("x"), 5_000)).length, 0);
    server.unsubscribe();
  });

  test("nobody there is told at once, as not done", async () => {
    const { near, base } = current();
    await assert.rejects(near.request(`${base}.nobody`, bytes("x"), 60_000), {
      name: "Fault",
      code: "NO_RESPONDERS",
      outcome: "not-done",
    });
  });

  test("no answer in time is of unknown outcome", async () => {
    const { near, far, base } = current();
    const silent = collect(far, `${base}.silent`);
    await far.flush();
    await assert.rejects(near.request(`${base}.silent`, bytes("x"), 50), {
      name: "Fault",
      code: "TIMEOUT",
      outcome: "unknown",
    });
    silent.unsubscribe();
  });
}

function collect(bus: Bus, subject: string) {
  const messages: BusMessage[] = [];
  const subscription = bus.subscribe(subject, (message) => messages.push(message));
  return { messages, unsubscribe: () => subscription.unsubscribe() };
}

function bytes(value: string): Uint8Array {
  return new TextEncoder().encode(value);
}

function text(value: Uint8Array): string {
  return new TextDecoder().decode(value);
}
