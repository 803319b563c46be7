/**
 * The disk under an inbox takes no write for 30 s, on virtual time: at-most-once messages
 * and heartbeats go on, and who asks for a stored push is refused in time.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { defaultLimits } from "../../actors/limits.js";
import type { ConnectionId } from "../../src/ports/edge-transport.js";
import { clientKinds, serverKinds } from "../../src/protocol/frames.js";
import type { PushAnswer } from "../../src/protocol/push-answer.js";
import { HealthBench } from "../support/health-bench.js";

const stallSeconds = 30;
const { requestDeadlineMs, heartbeatMs } = defaultLimits;
/** From the group's timer to the wheel's slot, each may be late by a second. */
const slackMs = 2_000;

async function attached(bench: HealthBench): Promise<ConnectionId> {
  const { transport } = bench.node("a");
  const connection = transport.connect("alice");
  assert.equal(bench.push("alice", { body: "first" }).length, 0);
  await bench.until("alice has the first", () => bodiesOf(bench, connection).length === 1);
  return connection;
}

function framesOf(bench: HealthBench, connection: ConnectionId, kind: number): unknown[][] {
  return (bench.node("a").transport.sent.get(connection) ?? []).filter(([of]) => of === kind);
}

function bodiesOf(bench: HealthBench, connection: ConnectionId): unknown[] {
  const { message, passing } = serverKinds;
  return [message, passing]
    .flatMap((kind) => framesOf(bench, connection, kind))
    .map((frame) => frame.at(-1));
}

function answerPings(bench: HealthBench, connection: ConnectionId): void {
  const [ping] = framesOf(bench, connection, serverKinds.ping).slice(-1);
  if (ping !== undefined)
    bench.node("a").transport.receive(connection, [clientKinds.pong, ping[1]]);
}

test("at-most-once messages and heartbeats go on while the store stalls for 30 s", async () => {
  const bench = await HealthBench.start(["a"]);
  const connection = await attached(bench);
  bench.node("a").store.stall();
  for (let second = 1; second <= stallSeconds + 5; second++) {
    const body = `passing ${second}`;
    const answers = bench.push("alice", { body, qos: 0 });
    await bench.pass(1_000);
    assert.equal(answers[0]?.ok, true, `${body} is answered within a second`);
    assert.equal(bodiesOf(bench, connection).at(-1), body);
    answerPings(bench, connection);
  }
  assert.ok(stallSeconds * 1_000 >= heartbeatMs);
  assert.equal(framesOf(bench, connection, serverKinds.ping).length, 1);
  assert.equal(bench.node("a").transport.closed.get(connection), undefined);
  bench.node("a").store.goOn();
  await bench.pass(1_000);
  assert.deepEqual(bench.crashes, []);
});

test("refuses stored pushes in time while the store stalls for 30 s", async () => {
  const bench = await HealthBench.start(["a"]);
  const connection = await attached(bench);
  bench.node("a").store.stall();
  const asked: { readonly second: number; readonly answers: PushAnswer[] }[] = [];
  for (let second = 0; second < stallSeconds; second++) {
    asked.push({ second, answers: bench.push("alice", { body: second, id: `key-${second}` }) });
    await bench.pass(1_000);
    const due = asked.filter(
      ({ second: at }) => (second - at) * 1_000 > requestDeadlineMs + slackMs,
    );
    for (const { second: at, answers } of due) {
      const [answer] = answers;
      assert.ok(answer !== undefined, `the push of second ${at} is answered by second ${second}`);
      assert.ok(!answer.ok && answer.retryable, JSON.stringify(answer));
    }
  }
  bench.node("a").store.goOn();
  await bench.pass(5_000);
  // Under its key each is accepted once, whatever became of the first try.
  for (const { second } of asked) {
    const again = bench.push("alice", { body: second, id: `key-${second}` });
    await bench.until("it is accepted", () => again[0]?.ok === true);
  }
  const bodies = () => bodiesOf(bench, connection).filter((body) => typeof body === "number");
  await bench.until("alice has all", () => new Set(bodies()).size === stallSeconds);
});
