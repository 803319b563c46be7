/** What an edge keeps by slot is of the slot's tenant, never of the one before. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { EdgeContext, sweepParts } from "../../actors/edge-context.js";
import { defaultLimits } from "../../actors/limits.js";
import type { NodeContext } from "../../actors/node-context.js";
import { connectionId } from "../../src/ports/edge-transport.js";
import { sessionKey } from "../../src/protocol/shards.js";

const [first, next] = [connectionId(7, 1), connectionId(7, 2)];

function anEdge(tell: (number: number, message: unknown) => boolean = () => true): EdgeContext {
  const transport = { close: () => undefined, bufferedBytes: () => 0, send: () => undefined };
  const clock = { monotonicMs: () => 1, wallMs: () => 10 ** 12 };
  const node = { limits: defaultLimits, clock, transport };
  const surroundings = { send: () => true, startTick: () => undefined };
  const children = { tell, spawn: () => undefined, end: () => undefined };
  return new EdgeContext(node as unknown as NodeContext, surroundings, children);
}

test("a connection that is gone has no counter, whoever has its slot now", () => {
  const edge = anEdge();
  edge.open(first, false);
  edge.noteConnect(first, 1_234_567_890_123);
  assert.equal(edge.connectOf(first), 1_234_567_890_123);
  edge.forget(first);
  edge.open(next, false);
  edge.noteConnect(next, 2_000_000_000_000);
  assert.deepEqual([edge.connectOf(first), edge.connectOf(next)], [0, 2_000_000_000_000]);
});

test("who is gone, or being closed, is greeted by no hello that waited, nor is the slot's next one", () => {
  const edge = anEdge();
  edge.open(first, false);
  edge.close(first, "BAD_FRAME");
  edge.noteHello(first);
  assert.deepEqual([edge.isOpen(first), edge.greetedAt(7)], [false, undefined]);
  edge.forget(first);
  edge.noteHello(first);
  edge.open(next, false);
  edge.noteHello(first);
  edge.noteTokenExpiry(first, 1_000);
  assert.deepEqual([edge.greetedAt(7), edge.tokenExpiryMs(next)], [undefined, 0]);
  edge.noteHello(next);
  assert.deepEqual([edge.isOpen(first), edge.isOpen(next)], [false, true]);
  assert.equal(edge.greetedAt(7), next);
});

test("a further session that does not hear that its token has ended ends alone", () => {
  const told: unknown[] = [];
  const edge = anEdge((number, message) => number === first && told.push(message) > 0);
  edge.open(first, false);
  edge.noteHello(first);
  const options = { platform: "x", start: "new" } as const;
  const key = sessionKey("demo", "u");
  const further = { carrier: first, index: 1, key, device: "phone", options };
  const number = edge.addFurther(further) ?? first;
  edge.noteTokenExpiry(number, 1);
  for (let part = 0; part < sweepParts; part++) edge.sweep(part);
  assert.deepEqual(told, [{ kind: "SessionEnded", number, close: "TOKEN_EXPIRED" }]);
  assert.equal(edge.isOpen(first), true);
});
