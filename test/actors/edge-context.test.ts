/** What an edge keeps by slot is of the slot's tenant, never of the one before. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { EdgeContext } from "../../actors/edge-context.js";
import { defaultLimits } from "../../actors/limits.js";
import type { NodeContext } from "../../actors/node-context.js";
import { connectionId } from "../../src/ports/edge-transport.js";

test("a connection that is gone has no counter, whoever has its slot now", () => {
  const node = { limits: defaultLimits, clock: { monotonicMs: () => 1 } };
  const surroundings = { send: () => true, startTick: () => undefined };
  const children = { tell: () => true, spawn: () => undefined, stop: () => undefined };
  const edge = new EdgeContext(node as unknown as NodeContext, surroundings, children);
  const [first, next] = [connectionId(7, 1), connectionId(7, 2)];
  edge.open(first, false);
  edge.noteConnect(first, 1_234_567_890_123);
  assert.equal(edge.connectOf(first), 1_234_567_890_123);
  edge.forget(first);
  edge.open(next, false);
  edge.noteConnect(next, 2_000_000_000_000);
  assert.deepEqual([edge.connectOf(first), edge.connectOf(next)], [0, 2_000_000_000_000]);
});
