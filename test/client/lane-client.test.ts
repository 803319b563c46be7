/** Pushes by a durable lane, and what the lane's stream may say to them. */
import { deepEqual, equal, match, ok, rejects } from "node:assert/strict";
import { describe, test } from "node:test";
import { natsError, noResponders, type Request, ServiceStage } from "./service-stage.js";

const json = (value: unknown) => Buffer.from(JSON.stringify(value));
const taken = (request: Request) =>
  request.answer(json({ stream: "LANE_high", seq: 7, domain: "d" }));
const refused = (code: number, description: string) => (request: Request) =>
  request.answer(json({ error: { code: 503, err_code: code, description } }));

const idsOf = ({ requests }: ServiceStage) => requests.map(({ command }) => command["id"]);

/** Each request is answered by the next of these, the last of them for ever. */
function inTurn(...answers: ((request: Request) => void)[]): (request: Request) => void {
  return (request) => (answers.length > 1 ? answers.shift() : answers[0])?.(request);
}

describe("a lane", () => {
  test("publishes on the user's lane subject and gives the stream's receipt", async () => {
    const stage = new ServiceStage(taken);
    const answer = await stage.settled(stage.service.lane("high").push("anna.k", { body: 1 }));
    deepEqual(answer, { ok: true, stream: "LANE_high", seq: 7 });
    equal(stage.requests[0]?.subject, "lane.high.my%20shop.user.anna%2Ek");
    const { id, ...rest } = stage.requests[0]?.command ?? {};
    deepEqual(rest, { body: 1 });
    match(String(id), /^[a-z0-9]{26}$/i);
  });

  test("repeats under one key what it heard nothing of", async () => {
    const stage = new ServiceStage(
      inTurn(
        () => undefined,
        (request) => request.fail(natsError("ConnectionError")),
        (request) => request.answer(json({ stream: "LANE_high", seq: 7 })),
      ),
    );
    const answer = await stage.settled(stage.service.lane("high").push("a", { body: 1 }));
    deepEqual(answer, { ok: true, stream: "LANE_high", seq: 7 });
    equal(stage.requests.length, 3);
    equal(new Set(idsOf(stage)).size, 1);
  });

  test("keeps a service's own key, and makes another one for each push without", async () => {
    const stage = new ServiceStage(taken);
    const lane = stage.service.lane("low");
    await stage.settled(lane.push("a", { body: 1, id: "order 17" }));
    for (const _ of [1, 2]) await stage.settled(lane.push("a", { body: 1 }));
    const [own, ...made] = idsOf(stage);
    equal(own, "order 17");
    equal(new Set(made).size, 2);
  });

  test("waits out an election of the stream's leader", async () => {
    const stage = new ServiceStage((request) => {
      if (stage.clock.monotonicMs() < 8_000) request.fail(noResponders);
      else taken(request);
    });
    const answer = await stage.settled(stage.service.lane("high").push("a", { body: 1 }));
    ok(answer.ok);
    equal(new Set(idsOf(stage)).size, 1);
  });

  test("that no stream takes is unknown, after so long that it cannot be an election", async () => {
    const stage = new ServiceStage((request) => request.fail(noResponders));
    const startMs = stage.clock.monotonicMs();
    const answer = await stage.settled(stage.service.lane("hihg").push("a", { body: 1 }));
    deepEqual(!answer.ok && [answer.code, answer.retryable], ["LANE_UNKNOWN", false]);
    const tookMs = stage.clock.monotonicMs() - startMs;
    ok(tookMs > 10_000 && tookMs < 15_000, `${tookMs}`);
  });

  test("is not said to be unknown where an attempt before may have been taken", async () => {
    const stage = new ServiceStage(
      inTurn(
        () => undefined,
        (request) => request.fail(noResponders),
      ),
    );
    const answer = await stage.settled(stage.service.lane("high").push("a", { body: 1 }));
    equal(!answer.ok && answer.code, "TIMEOUT");
  });

  for (const name of ["", "a.b", "*", ">", "High", "x".repeat(33)]) {
    test(`named "${name}" is refused without asking anybody`, async () => {
      const stage = new ServiceStage(taken);
      const answer = await stage.service.lane(name).push("a", { body: 1 });
      equal(!answer.ok && answer.code, "LANE_UNKNOWN");
      equal(stage.requests.length, 0);
    });
  }

  test("that is full is tried until the deadline, then said to be full", async () => {
    for (const what of ["messages", "bytes"]) {
      const stage = new ServiceStage(refused(10_077, `maximum ${what} exceeded`));
      const pushing = stage.service.lane("low").push("a", { body: 1 }, { deadlineMs: 5_000 });
      const answer = await stage.settled(pushing);
      deepEqual(!answer.ok && [answer.code, answer.retryable], ["LANE_FULL", true]);
      ok(stage.requests.length > 2);
    }
    const stage = new ServiceStage(
      inTurn(refused(10_077, "maximum messages per subject exceeded"), taken),
    );
    ok((await stage.settled(stage.service.lane("low").push("a", { body: 1 }))).ok);
  });

  test("gives other errors of the stream as what they are", async () => {
    const large = new ServiceStage(refused(10_054, "message size exceeds maximum allowed"));
    const tooLarge = await large.settled(large.service.lane("low").push("a", { body: 1 }));
    equal(!tooLarge.ok && tooLarge.code, "BODY_TOO_LARGE");
    const other = new ServiceStage(refused(10_077, "no space left on device"));
    const pushing = other.service.lane("low").push("a", { body: 1 }, { deadlineMs: 3_000 });
    const answer = await other.settled(pushing);
    ok(!answer.ok);
    equal(answer.code, "STORE_UNAVAILABLE");
    match(answer.message, /no space left/);
  });

  test("never repeats for longer than a session knows a key", async () => {
    const stage = new ServiceStage();
    const startMs = stage.clock.monotonicMs();
    const pushing = stage.service.lane("low").push("a", { body: 1 }, { deadlineMs: 1e9 });
    const answer = await stage.settled(pushing);
    equal(!answer.ok && answer.code, "TIMEOUT");
    ok(stage.clock.monotonicMs() - startMs < 120_000);
  });

  test("refuses by form what the platform would refuse", async () => {
    const stage = new ServiceStage(taken);
    const lane = stage.service.lane("low");
    const codes = [await lane.push("", { body: 1 }), await lane.push("a", {})].map(
      (answer) => !answer.ok && answer.code,
    );
    deepEqual(codes, ["BAD_UID", "BAD_COMMAND"]);
    equal(stage.requests.length, 0);
  });

  test("rejects with a fault for an answer that is none", async () => {
    const stage = new ServiceStage((request) => request.answer(Buffer.from("hello")));
    const pushing = stage.service.lane("low").push("a", { body: 1 }, { deadlineMs: 1_000 });
    await rejects(stage.settled(pushing), { code: "BAD_ANSWER", outcome: "unknown" });
  });
});
