/** What an edge counts of those it lets in and refuses. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { EdgeAdmission } from "../../actors/edge-admission.js";
import { defaultLimits } from "../../actors/limits.js";
import type { NodeContext } from "../../actors/node-context.js";
import { connectionId, type Handshake } from "../../src/ports/edge-transport.js";

function edge(changes: object = {}, access: object = {}) {
  const now = { ms: 1_000, draw: 0.5, connections: 0 };
  const conditions = { letInPercent: 100, lagMs: 0, setLetIn: async () => undefined };
  const node = {
    limits: { ...defaultLimits, ...changes },
    clock: { monotonicMs: () => now.ms },
    random: { next: () => now.draw },
    transport: {
      get connectionCount() {
        return now.connections;
      },
    },
    edgeConditions: conditions,
    edgeAccess: access,
    apps: { find: () => undefined, hasConnectUrls: false },
  };
  const admission = new EdgeAdmission(node as unknown as NodeContext);
  const shake = (remoteAddress = "192.0.2.1") => {
    const handshake: Handshake = { remoteAddress, origin: undefined, forwardedFor: undefined };
    return admission.admit(handshake)?.status;
  };
  const refused = () => admission.inspect()["refused"] as Record<string, number>;
  return { now, node, conditions, admission, shake, refused };
}

describe("an edge's admission", () => {
  test("spends its rate on those who are let in alone", () => {
    const { now, conditions, shake, refused } = edge({ acceptsPerSecond: 10, acceptsBurst: 2 });
    conditions.letInPercent = 0;
    for (let count = 0; count < 100; count++) assert.equal(shake(), 503);
    conditions.letInPercent = 100;
    assert.deepEqual([shake(), shake(), shake()], [undefined, undefined, 503]);
    now.ms += 100;
    assert.deepEqual([shake(), shake()], [undefined, 503]);
    assert.deepEqual([refused()["letIn"], refused()["rate"]], [100, 2]);
  });

  test("lets in the share that is set, by the draw", () => {
    const { now, conditions, shake } = edge();
    conditions.letInPercent = 30;
    now.draw = 0.299;
    assert.equal(shake(), undefined);
    now.draw = 0.3;
    assert.equal(shake(), 503);
  });

  test("sheds while the loop lags, and not after", () => {
    const { conditions, shake, refused } = edge();
    conditions.lagMs = defaultLimits.acceptLagMaxMs + 1;
    assert.equal(shake(), 503);
    conditions.lagMs = 10;
    assert.equal(shake(), undefined);
    assert.equal(refused()["lag"], 1);
  });

  test("counts the connections of an address as they open and close, slots used again too", () => {
    const { admission, shake } = edge({}, { connectionsPerAddressMax: 2 });
    for (let generation = 1; generation < 50; generation++) {
      const mine = [connectionId(0, generation), connectionId(1, generation)] as const;
      for (const connection of mine) {
        assert.equal(shake(), undefined);
        admission.opened(connection);
      }
      assert.equal(shake(), 429);
      assert.equal(shake("192.0.2.2"), undefined);
      admission.opened(connectionId(2, generation));
      // A second end of the same one gives nobody else's place away.
      for (let count = 0; count < 3; count++) admission.closed(mine[0]);
      assert.equal(shake(), undefined);
      admission.opened(mine[0]);
      assert.equal(shake(), 429);
      for (const connection of [...mine, connectionId(2, generation)]) admission.closed(connection);
    }
    assert.equal(shake(), undefined);
  });

  // Single addresses were counted, of which an IPv6 client has as many as it likes.
  test("counts an IPv6 network as one, and an IPv4 address as one however it is written", () => {
    const { admission, shake } = edge({}, { connectionsPerAddressMax: 2 });
    const open = (slot: number, address: string) => {
      assert.equal(shake(address), undefined, address);
      admission.opened(connectionId(slot, 1));
    };
    open(0, "2001:db8:1:2::1");
    open(1, "2001:db8:1:2:ffff::1");
    assert.equal(shake("2001:db8:1:2:abcd:1234:5678:9"), 429);
    open(2, "2001:db8:1:3::1");
    open(3, "192.0.2.1");
    open(4, "::ffff:192.0.2.1");
    assert.equal(shake("192.0.2.1"), 429);
    open(5, "::ffff:192.0.2.2");
    for (let slot = 0; slot < 6; slot++) admission.closed(connectionId(slot, 1));
    open(6, "2001:db8:1:2:abcd:1234:5678:9");
    open(7, "192.0.2.1");
  });

  test("keeps addresses where a webhook is to be told of them, and while they are connected", () => {
    const told = edge();
    const [first, second] = [connectionId(0, 1), connectionId(1, 1)];
    told.shake("192.0.2.1");
    told.admission.opened(first);
    assert.equal(told.admission.addressAt(first), undefined);
    told.node.apps.hasConnectUrls = true;
    assert.equal(told.shake("2001:db8::7"), undefined);
    told.admission.opened(second);
    assert.equal(told.admission.addressAt(second), "2001:db8::7");
    told.admission.closed(second);
    assert.equal(told.admission.addressAt(second), undefined);
  });
});
