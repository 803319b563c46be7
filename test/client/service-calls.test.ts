/** A service that answers its clients' calls: how many at once, until when, and at the end. */
import { deepEqual, equal, ok } from "node:assert/strict";
import { describe, test } from "node:test";
import {
  type CallHandler,
  CallRefused,
  type HandleOptions,
} from "../../src/client/service-client.js";
import { packValue } from "../../src/protocol/codec.js";
import { ServiceStage } from "./service-stage.js";

function handling(handler: CallHandler, options: HandleOptions = {}) {
  const stage = new ServiceStage();
  const errors: unknown[] = [];
  const onError = (error: unknown) => void errors.push(error);
  const handled = stage.service.handle("orders", handler, { onError, ...options });
  const call = (number: number, body: unknown = number, deadlineMs = 5_000) =>
    stage.emit(
      "uplink",
      packValue({ ...fields, id: `c${number}`, deadlineMs, body }),
      `r${number}`,
    );
  return { ...{ stage, errors, handled, call }, settle: () => stage.clock.settle() };
}

const fields = { v: 1, app: "my shop", uid: "al.ice", device: "phone", route: "orders" };

/** A handler's work that ends when the test says so. */
function held() {
  const ends: ((value: unknown) => void)[] = [];
  const signals: AbortSignal[] = [];
  const handler: CallHandler = ({ signal }) => {
    signals.push(signal);
    return new Promise((resolve) => void ends.push(resolve));
  };
  return { ends, signals, handler };
}

describe("a service's handler", () => {
  test("is given who calls and what, and answers what it returns", async () => {
    const seen: unknown[] = [];
    const { stage, call, settle } = handling(({ signal, ...given }) => {
      seen.push([given, signal.aborted]);
      return { total: 41 };
    });
    deepEqual(stage.subscribed, ["uplink.my%20shop.orders.*"]);
    call(1, { order: 17 });
    await settle();
    const { v, app, ...caller } = fields;
    deepEqual(seen, [[{ ...caller, id: "c1", leftMs: 5_000, body: { order: 17 } }, false]]);
    deepEqual(stage.published, [["r1", { ok: true, value: { total: 41 } }]]);
    equal(stage.clock.pendingTimers, 0);
  });

  test("refuses by its own code; what else it throws is not the client's to read", async () => {
    const { stage, errors, call, settle } = handling(({ body }) => {
      if (body === 1) throw new CallRefused("SOLD_OUT", "none is left");
      if (body === 2) throw new CallRefused("C".repeat(65), "");
      return Promise.reject(new Error("the password of the database"));
    });
    for (const number of [1, 2, 3]) call(number);
    await settle();
    const internal = { ok: false, code: "INTERNAL", message: "the service failed" };
    deepEqual(stage.published, [
      ["r1", { ok: false, code: "SOLD_OUT", message: "none is left" }],
      ["r2", internal],
      ["r3", internal],
    ]);
    equal(errors.length, 2);
  });

  const circle: unknown[] = [];
  circle.push(circle);
  const unsendable: [string, unknown, string][] = [
    ["is no plain value", new Date(), "INTERNAL"],
    ["has no end", circle, "INTERNAL"],
    ["is too large", "a".repeat(256 * 1024), "ANSWER_TOO_LARGE"],
  ];
  for (const [name, value, code] of unsendable) {
    test(`whose answer ${name} answers ${code}`, async () => {
      const { stage, errors, call, settle } = handling(() => value);
      call(1);
      await settle();
      const [[, answer] = []] = stage.published;
      deepEqual([stage.published.length, (answer as { code: string }).code], [1, code]);
      equal(errors.length, 1);
    });
  }

  test("works on so many at once; so many wait; the rest is told at once", async () => {
    const { ends, handler } = held();
    const { stage, handled, call, settle } = handling(handler, { concurrency: 2, waitingMax: 3 });
    for (let number = 1; number <= 7; number++) call(number);
    await settle();
    deepEqual([handled.running, handled.waiting, handled.overloaded], [2, 3, 2]);
    deepEqual(
      stage.published.map(([reply, answer]) => [reply, (answer as { code: string }).code]),
      [
        ["r6", "OVERLOADED"],
        ["r7", "OVERLOADED"],
      ],
    );
    while (ends.length > 0) {
      ends.shift()?.("done");
      await settle();
      ok(handled.running <= 2);
    }
    deepEqual([handled.running, handled.waiting, stage.published.length], [0, 0, 7]);
  });

  test("is told when nobody waits any more, and what it returns then goes nowhere", async () => {
    const { ends, signals, handler } = held();
    const { stage, handled, call, settle } = handling(handler, { concurrency: 1 });
    call(1, 1, 1_000);
    call(2, 2, 1_000);
    await settle();
    await stage.clock.advanceAndSettle(1_000);
    deepEqual([signals.length, signals[0]?.aborted, handled.late], [1, true, 1]);
    // It holds its place until it has ended; the one behind it is too late then.
    equal(handled.running, 1);
    ends[0]?.("late");
    await settle();
    deepEqual(
      [handled.running, handled.late, stage.published.length, signals.length],
      [0, 2, 0, 1],
    );
  });

  test("takes nothing after its close, which waits for what it has", async () => {
    const { ends, handler } = held();
    const { stage, handled, call, settle } = handling(handler, { concurrency: 1 });
    for (const number of [1, 2]) call(number);
    await settle();
    let isClosed = false;
    void handled.close().then(() => {
      isClosed = true;
    });
    call(3);
    await settle();
    ends[0]?.("one");
    await settle();
    equal(isClosed, false);
    ends[1]?.("two");
    await settle();
    equal(isClosed, true);
    deepEqual(
      stage.published.map(([reply]) => reply),
      ["r1", "r2"],
    );
  });

  test("that hangs does not keep the close beyond the call's deadline", async () => {
    const { handler } = held();
    const { stage, handled, call } = handling(handler);
    call(1);
    let isClosed = false;
    void handled.close().then(() => {
      isClosed = true;
    });
    await stage.clock.advanceAndSettle(4_999);
    equal(isClosed, false);
    await stage.clock.advanceAndSettle(1);
    equal(isClosed, true);
  });

  test("is not called for what reads as no call", async () => {
    const { stage, handled, settle } = handling(() => 1);
    stage.emit("uplink", packValue({ ...fields, v: 2, id: "c", deadlineMs: 1 }), "r1");
    stage.emit("uplink", packValue({ ...fields, id: "c", deadlineMs: 1_000 }));
    stage.emit("uplink", Uint8Array.of(0xc1), "r2");
    await settle();
    equal(handled.unreadable, 3);
    deepEqual(
      stage.published.map(([reply, answer]) => [reply, (answer as { code: string }).code]),
      [
        ["r1", "UNREADABLE"],
        ["r2", "UNREADABLE"],
      ],
    );
  });
});
