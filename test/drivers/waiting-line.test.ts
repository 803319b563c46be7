/** Handshakes that are answered later: each at its time, in their order, and never all in one turn. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { WaitingLine } from "../../src/drivers/waiting-line.js";
import type { HandshakeTurn } from "../../src/ports/edge-transport.js";
import { until } from "../support/until.js";

function turnOf(waitMs: number): HandshakeTurn & { left: number } {
  const turn = { waitMs, left: 0, take: () => undefined, leave: () => void turn.left++ };
  return turn;
}

describe("a line of handshakes", () => {
  test("after a pause of the loop asks all that are due in order, with others' turns between", async () => {
    const asked: number[] = [];
    const turnsOfLoop = new Set<number>();
    let turnOfLoop = 0;
    const line = new WaitingLine<number, string>((peer, _turn, kept) => {
      assert.equal(kept, `of ${peer}`);
      asked.push(peer);
      turnsOfLoop.add(turnOfLoop);
    });
    const count = 500;
    for (let peer = 0; peer < count; peer++) {
      line.add(peer, turnOf(Math.floor(peer / 50) * 3), `of ${peer}`);
    }
    const untilMs = performance.now() + 100;
    while (performance.now() < untilMs);
    const next = () => {
      turnOfLoop++;
      if (asked.length < count) setImmediate(next);
    };
    next();
    await until("all are asked", () => asked.length === count);
    assert.deepEqual(
      asked,
      Array.from({ length: count }, (_, peer) => peer),
    );
    assert.ok(turnsOfLoop.size >= 10, `in ${turnsOfLoop.size} turns`);
    assert.equal(line.size, 0);
  });

  test("asks a short one before a long one that came first", async () => {
    const asked: string[] = [];
    const line = new WaitingLine<string, undefined>((peer) => void asked.push(peer));
    line.add("long", turnOf(3_000), undefined);
    line.add("short", turnOf(20), undefined);
    await until("the short one is asked", () => asked.length === 1);
    assert.deepEqual([asked, line.has("long"), line.has("short")], [["short"], true, false]);
    await until("the long one is asked", () => asked.length === 2);
  });

  test("asks nobody who left, and tells each once", () => {
    const line = new WaitingLine<string, undefined>(() => assert.fail("nobody's turn came"));
    const turns = [turnOf(60_000), turnOf(60_000), turnOf(10_000)] as const;
    for (const [at, turn] of turns.entries()) line.add(`peer ${at}`, turn, undefined);
    assert.deepEqual([line.leave("peer 1"), line.leave("peer 1")], [true, false]);
    assert.deepEqual(line.takeFirst(1), ["peer 0"]);
    assert.deepEqual(line.takeFirst(5), ["peer 2"]);
    assert.deepEqual(line.takeFirst(5), []);
    assert.deepEqual(
      turns.map(({ left }) => left),
      [1, 1, 1],
    );
    assert.equal(line.size, 0);
  });
});
