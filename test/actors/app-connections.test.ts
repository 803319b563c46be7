/** An edge grants each app its share of the quota, and gives back what has gone. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { AppConnections } from "../../actors/app-connections.js";
import type { NodeContext } from "../../actors/node-context.js";
import type { AppLimits } from "../../src/protocol/app-settings.js";

function connectionsOf(nodes: number, limits: Readonly<Record<string, AppLimits>>) {
  const live = new Map(Array.from({ length: nodes }, (_, at) => [`n${at}`, {}]));
  const apps = { find: (app: string) => (app in limits ? { limits: limits[app] } : undefined) };
  return new AppConnections({ apps, view: { nodes: live } } as unknown as NodeContext);
}

test("grants a node's equal share of the quota, rounded up", () => {
  const connections = connectionsOf(2, { shop: { connections: 3 } });
  const admitted = Array.from({ length: 4 }, () => connections.admit("shop"));
  assert.deepEqual(admitted, [true, true, false, false]);
  assert.deepEqual(connections.of("shop"), { connections: 2, refused: 2 });
});

test("takes another when one has left, and holds no app without a quota", () => {
  const connections = connectionsOf(1, { shop: { connections: 1 }, free: {} });
  assert.deepEqual([connections.admit("shop"), connections.admit("shop")], [true, false]);
  connections.leave("shop");
  assert.equal(connections.admit("shop"), true);
  for (let count = 0; count < 1_000; count++) assert.equal(connections.admit("free"), true);
  assert.equal(connections.of("free").connections, 1_000);
});

test("with a quota of 0 takes nobody", () => {
  assert.equal(connectionsOf(3, { shop: { connections: 0 } }).admit("shop"), false);
});
