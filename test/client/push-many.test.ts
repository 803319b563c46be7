/** Batches of the services' SDK: bounded, in order per user, repeated under one key. */
import { deepEqual, equal, ok } from "node:assert/strict";
import { describe, test } from "node:test";
import { packValue } from "../../src/protocol/codec.js";
import { errorAnswer } from "../../src/protocol/errors.js";
import type { MsgId } from "../../src/protocol/msg-id.js";
import { natsError, noResponders, type Request, ServiceStage } from "./service-stage.js";

const stored = (seq: number) => packValue({ ok: true, id: "0DGZRG3G80100001" as MsgId, seq });
const uidOf = ({ subject }: Request) => subject.split(".").at(-1);
const answers = (request: Request) => request.answer(stored(Number(request.command.body)));

describe("pushMany", () => {
  test("gives one answer a push, in their order, each with its own key", async () => {
    const stage = new ServiceStage(answers);
    const pushes = Array.from({ length: 500 }, (_, body) => ({
      uid: `u${body % 7}`,
      push: { body },
    }));
    const given = await stage.settled(stage.service.pushMany(pushes));
    deepEqual(
      given.map((answer) => answer.ok && answer.seq),
      pushes.map(({ push }) => push.body),
    );
    equal(new Set(given.map(({ key }) => key)).size, 500);
    deepEqual(
      stage.requests.map(({ command }) => command.id).sort(),
      given.map(({ key }) => key).sort(),
    );
  });

  test("never has two of one user in flight, nor more than it may in all", async () => {
    const stage = new ServiceStage();
    const pushes = Array.from({ length: 60 }, (_, body) => ({
      uid: `u${Math.floor(body / 6)}`,
      push: { body },
    }));
    const pushing = stage.service.pushMany(pushes, { concurrency: 4 });
    let answered = 0;
    const order = new Map<string | undefined, unknown[]>();
    while (answered < pushes.length) {
      await stage.clock.advanceAndSettle(1);
      const inFlight = stage.requests.slice(answered);
      ok(inFlight.length > 0 && inFlight.length <= 4, `${inFlight.length} in flight`);
      equal(new Set(inFlight.map(uidOf)).size, inFlight.length);
      for (const request of inFlight) {
        const seen = order.get(uidOf(request)) ?? [];
        order.set(uidOf(request), [...seen, request.command.body]);
        answers(request);
        answered += 1;
      }
    }
    equal((await pushing).length, 60);
    for (const bodies of order.values()) {
      deepEqual(
        bodies,
        [...bodies].sort((a, b) => Number(a) - Number(b)),
      );
    }
  });

  test("repeats an unknown fate under its key before the user's next one goes", async () => {
    let failures = 3;
    const stage = new ServiceStage((request) => {
      if (request.command.body === 1 && failures-- > 0) {
        if (failures === 1) request.fail(noResponders);
        else if (failures === 0) request.fail(natsError("ConnectionError"));
      } else {
        answers(request);
      }
    });
    const pushes = [1, 2].map((body) => ({ uid: "alice", push: { body } }));
    const given = await stage.settled(stage.service.pushMany(pushes));
    ok(given.every((answer) => answer.ok));
    deepEqual(
      stage.requests.map(({ command }) => command.body),
      [1, 1, 1, 1, 2],
    );
    equal(new Set(stage.requests.slice(0, 4).map(({ command }) => command.id)).size, 1);
  });

  test("keeps the keys that it is given", async () => {
    const stage = new ServiceStage(answers);
    const [given] = await stage.settled(
      stage.service.pushMany([{ uid: "alice", push: { body: 1, id: "order-17" } }]),
    );
    equal(given?.key, "order-17");
    equal(stage.requests[0]?.command.id, "order-17");
  });

  test("answers what was refused for good, and goes on with that user", async () => {
    const stage = new ServiceStage((request) => {
      if (request.command.body === 1) request.answer(packValue(errorAnswer("KEY_REUSED")));
      else answers(request);
    });
    const pushes = [{ body: 1 }, {}, { body: 3 }].map((push) => ({ uid: "alice", push }));
    const given = await stage.settled(stage.service.pushMany(pushes));
    deepEqual(
      given.map((answer) => (answer.ok ? answer.seq : answer.code)),
      ["KEY_REUSED", "BAD_COMMAND", 3],
    );
  });

  test("ends at its deadline: what is in flight is unknown, the rest was not sent", async () => {
    const stage = new ServiceStage();
    const pushes = [1, 2, 3].map((body) => ({ uid: "alice", push: { body } }));
    const startMs = stage.clock.monotonicMs();
    const pushing = stage.service.pushMany(pushes, { deadlineMs: 8_000 });
    const given = await stage.settled(pushing);
    ok(stage.clock.monotonicMs() - startMs <= 9_000);
    deepEqual(
      given.map((answer) => !answer.ok && answer.code),
      ["TIMEOUT", "TIMEOUT", "TIMEOUT"],
    );
    deepEqual(new Set(stage.requests.map(({ command }) => command.body)), new Set([1]));
    const last = given.at(-1);
    ok(last !== undefined && !last.ok && /not sent/.test(last.message));
  });

  test("turns a connection that fails to the end into answers, not into a rejection", async () => {
    const stage = new ServiceStage((request) => request.fail(natsError("ConnectionError")));
    const pushes = [{ uid: "alice", push: { body: 1 } }];
    const [given] = await stage.settled(stage.service.pushMany(pushes, { deadlineMs: 2_000 }));
    equal(given !== undefined && !given.ok && given.code, "TIMEOUT");
  });

  test("of nothing is nothing", async () => {
    deepEqual(await new ServiceStage().service.pushMany([]), []);
  });
});
