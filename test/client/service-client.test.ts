/** The services' SDK over a connection that a test scripts, on virtual time. */
import { deepEqual, equal, ok, rejects } from "node:assert/strict";
import { describe, test } from "node:test";
import { createService, type Push, type Service } from "../../src/client/service-client.js";
import { packValue, unpackValue } from "../../src/protocol/codec.js";
import { type ErrorCode, errorAnswer, errorTable } from "../../src/protocol/errors.js";
import type { PushAnswer } from "../../src/protocol/push-answer.js";
import { VirtualClock } from "../support/virtual-clock.js";

/** An answer, an error to reject with, or "silence" for nats-core's timeout. */
type Scripted = PushAnswer | Error | "silence";

interface Asked {
  readonly subject: string;
  readonly command: Record<string, unknown>;
  readonly timeout: number;
}

const stored = { ok: true, id: "0DGZRG3G80100001", seq: 7 } as PushAnswer;

/** Shaped like nats-core's: the reason is the cause. */
function natsError(name: string, cause?: Error): Error {
  return Object.assign(new Error(name.toLowerCase(), { cause }), { name });
}
const noResponders = natsError("RequestError", natsError("NoResponders"));
const timedOut = natsError("TimeoutError");

function stage(...script: Scripted[]): {
  service: Service;
  clock: VirtualClock;
  asked: Asked[];
  published: Asked[];
} {
  const clock = new VirtualClock();
  const asked: Asked[] = [];
  const published: Asked[] = [];
  const read = (subject: string, payload: Uint8Array, timeout: number): Asked => {
    return { subject, timeout, command: unpackValue(payload) as Record<string, unknown> };
  };
  const connection = {
    request: async (subject: string, payload: Uint8Array, { timeout }: { timeout: number }) => {
      asked.push(read(subject, payload, timeout));
      const next = script.shift() ?? "silence";
      if (next instanceof Error) throw next;
      if (next !== "silence") return { data: packValue(next) };
      await new Promise<void>((resolve) => void clock.after(timeout, resolve));
      throw timedOut;
    },
    publish: (subject: string, payload: Uint8Array) => {
      published.push(read(subject, payload, 0));
    },
    subscribe: () => ({ unsubscribe: () => {} }),
  };
  const random = { next: () => 0.5 };
  const service = createService({ connection, app: "my shop", clock, random });
  return { service, clock, asked, published };
}

async function settled<Value>(clock: VirtualClock, asked: Promise<Value>): Promise<Value> {
  let isOver = false;
  const over = asked.finally(() => {
    isOver = true;
  });
  // A rejection is the caller's to see, not the runner's.
  over.catch(() => {});
  for (let round = 0; round < 100 && !isOver; round++) await clock.advanceAndSettle(1_000);
  return over;
}

describe("push", () => {
  test("asks the user's subject and gives the answer back", async () => {
    const { service, asked } = stage(stored);
    const push: Push = { body: { bytes: Uint8Array.of(1) }, ttl: 60, type: "chat" };
    deepEqual(await service.push("anna.k@example.com", push), stored);
    equal(asked[0]?.subject, "push.my%20shop.user.anna%2Ek@example%2Ecom");
    equal(asked[0]?.timeout, 5_000);
    equal(asked[0]?.command.ttl, 60);
  });

  test("leaves out what is undefined", async () => {
    const { service, asked } = stage(stored);
    await service.push("a", { body: 1, id: undefined, collapse: undefined } as unknown as Push);
    deepEqual(asked[0]?.command, { body: 1 });
  });

  for (const code of Object.keys(errorTable) as ErrorCode[]) {
    test(`gives ${code} back as it came`, async () => {
      const { service } = stage(errorAnswer(code, "so"));
      deepEqual(await service.push("a", { body: 1 }), errorAnswer(code, "so"));
    });
  }

  test("is refused as retryable when nobody serves the user", async () => {
    const { service } = stage(noResponders);
    const answer = await service.push("a", { body: 1 });
    ok(!answer.ok && answer.retryable);
    equal(answer.code, "NOT_READY");
  });

  test("times out with an unknown fate", async () => {
    const { service, clock } = stage("silence");
    const answer = await settled(clock, service.push("a", { body: 1 }));
    ok(!answer.ok && answer.retryable);
    equal(answer.code, "TIMEOUT");
  });

  test("rejects with a fault when the connection fails, the cause kept", async () => {
    const cause = natsError("ClosedConnectionError");
    const { service } = stage(cause);
    await rejects(service.push("a", { body: 1 }), { name: "Fault", outcome: "unknown", cause });
  });

  test("rejects with a fault when the answer is none", async () => {
    const { service } = stage("hello" as unknown as PushAnswer);
    await rejects(service.push("a", { body: 1 }), { code: "BAD_ANSWER", outcome: "unknown" });
  });

  const refusedHere: [what: string, uid: string, push: Push, code: string][] = [
    ["an empty uid", "", { body: 1 }, "BAD_UID"],
    ["a uid too long once encoded", "ä".repeat(22), { body: 1 }, "BAD_UID"],
    ["no body", "a", {}, "BAD_COMMAND"],
    ["a field out of range", "a", { body: 1, ttl: 0 }, "BAD_COMMAND"],
    ["a body too large", "a", { body: "x".repeat(70_000) }, "BODY_TOO_LARGE"],
    ["a body that msgpack carries only as an extension", "a", { body: new Date() }, "BAD_ENCODING"],
  ];
  for (const [what, uid, push, code] of refusedHere) {
    test(`refuses ${what} without asking anybody`, async () => {
      const { service, asked, published } = stage(stored);
      const answers = [
        await service.push(uid, push),
        await service.pushReliably(uid, push),
        service.publish(uid, push),
      ];
      for (const answer of answers) equal(answer?.ok === false && answer.code, code);
      equal(asked.length + published.length, 0);
    });
  }

  test("refuses a body with a cycle", async () => {
    const cycle: unknown[] = [];
    cycle.push(cycle);
    const { service } = stage(stored);
    const answer = await service.push("a", { body: cycle });
    equal(answer.ok, false);
  });
});

describe("publish", () => {
  test("sends and hears nothing", () => {
    const { service, published } = stage();
    equal(service.publish("alice", { body: 1 }), undefined);
    deepEqual(published, [
      { subject: "push.my%20shop.user.alice", timeout: 0, command: { body: 1 } },
    ]);
  });
});

describe("pushReliably", () => {
  test("waits as long as a refusal says before it repeats", async () => {
    const { service, clock, asked } = stage(
      errorAnswer("RATE_LIMITED", "slow down", 7_000),
      stored,
    );
    const startMs = clock.monotonicMs();
    const answer = service.pushReliably("alice", { body: 1 });
    await clock.advanceAndSettle(6_900);
    equal(asked.length, 1);
    equal((await settled(clock, answer)).ok, true);
    ok(clock.monotonicMs() - startMs >= 7_000);
  });

  test("repeats what may be repeated, under one key, until it is accepted", async () => {
    const retryable: Scripted[] = [noResponders, errorAnswer("OVERLOADED"), "silence"];
    const { service, clock, asked } = stage(...retryable, natsError("ConnectionError"), stored);
    deepEqual(await settled(clock, service.pushReliably("alice", { body: 1 })), stored);
    equal(asked.length, 5);
    const [first, ...rest] = asked.map(({ command }) => command);
    equal(String(first?.id).length, 26);
    for (const command of rest) deepEqual(command, first);
  });

  test("keeps the key that it is given", async () => {
    const { service, asked } = stage(stored);
    await service.pushReliably("alice", { body: 1, id: "order-17" });
    equal(asked[0]?.command.id, "order-17");
  });

  test("makes a key where the one given is undefined", async () => {
    const { service, asked } = stage(stored);
    await service.pushReliably("alice", { body: 1, id: undefined } as unknown as Push);
    equal(typeof asked[0]?.command.id, "string");
  });

  test("waits as long as a refusal says before it asks again", async () => {
    const refusal = { ...errorAnswer("OVERLOADED"), retryAfterMs: 7_000 };
    const { service, clock, asked } = stage(refusal as PushAnswer, stored);
    const pushing = service.pushReliably("alice", { body: 1 });
    await clock.advanceAndSettle(6_900);
    equal(asked.length, 1);
    await clock.advanceAndSettle(200);
    deepEqual(await pushing, stored);
  });

  test("gives up where a refusal lasts beyond its deadline", async () => {
    const refusal = { ...errorAnswer("OVERLOADED"), retryAfterMs: 60_000 } as PushAnswer;
    const { service, asked } = stage(refusal);
    deepEqual(await service.pushReliably("alice", { body: 1 }), refusal);
    equal(asked.length, 1);
  });

  test("stops at a refusal that will not change", async () => {
    const { service, asked } = stage(errorAnswer("UNKNOWN_APP"), stored);
    const answer = await service.pushReliably("alice", { body: 1 });
    equal(!answer.ok && answer.code, "UNKNOWN_APP");
    equal(asked.length, 1);
  });

  test("gives the last answer at its deadline, and asks for no longer than that", async () => {
    const { service, clock, asked } = stage();
    const startMs = clock.monotonicMs();
    const pushing = service.pushReliably("alice", { body: 1 }, { deadlineMs: 12_000 });
    const answer = await settled(clock, pushing);
    equal(!answer.ok && answer.code, "TIMEOUT");
    ok(clock.monotonicMs() - startMs <= 13_000);
    ok(asked.length >= 3 && asked.every(({ timeout }) => timeout <= 5_000));
  });

  test("rejects with the last fault at its deadline", async () => {
    const faults = Array.from({ length: 100 }, () => natsError("ConnectionError"));
    const { service, clock } = stage(...faults);
    const pushing = service.pushReliably("alice", { body: 1 }, { deadlineMs: 1_000 });
    await rejects(settled(clock, pushing), { name: "Fault", code: "BUS" });
  });
});
