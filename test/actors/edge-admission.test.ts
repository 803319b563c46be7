/** What an edge counts of those it lets in and refuses. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { EdgeAdmission } from "../../actors/edge-admission.js";
import { defaultLimits } from "../../actors/limits.js";
import type { NodeContext } from "../../actors/node-context.js";
import {
  connectionId,
  type Handshake,
  type HandshakeRefusal,
  isTurn,
} from "../../src/ports/edge-transport.js";

const slow = { acceptsPerSecond: 10, acceptsBurst: 2 };

function edge(changes: object = {}, access: object = {}) {
  const now = { ms: 1_000, draw: 0.5, connections: 0 };
  const conditions = { letInPercent: 100, lagMs: 0, setLetIn: async () => undefined };
  const node = {
    limits: { ...defaultLimits, refusalHoldMs: 0, ...changes },
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
  const shut: { refusal: HandshakeRefusal | undefined } = { refusal: undefined };
  const admission = new EdgeAdmission(node as unknown as NodeContext, () => shut.refusal);
  const ask = (remoteAddress = "192.0.2.1") => {
    const handshake: Handshake = { remoteAddress, origin: undefined, forwardedFor: undefined };
    return admission.admit(handshake);
  };
  const shake = (remoteAddress?: string) => {
    const answer = ask(remoteAddress);
    assert.ok(answer === undefined || !isTurn(answer), "it is in line");
    return answer?.status;
  };
  const line = (remoteAddress?: string) => {
    const answer = ask(remoteAddress);
    assert.ok(answer !== undefined && isTurn(answer), "it is not in line");
    return answer;
  };
  const refused = () => admission.inspect()["refused"] as Record<string, number>;
  const waiting = () => admission.inspect()["waiting"];
  return { now, node, conditions, shut, admission, ask, shake, line, refused, waiting };
}

describe("an edge's admission", () => {
  test("spends its rate on those who are let in alone", () => {
    const { now, conditions, shake, refused } = edge({ ...slow, acceptWaitMsMax: 0 });
    conditions.letInPercent = 0;
    for (let count = 0; count < 100; count++) assert.equal(shake(), 503);
    conditions.letInPercent = 100;
    assert.deepEqual([shake(), shake(), shake()], [undefined, undefined, 503]);
    now.ms += 100;
    assert.deepEqual([shake(), shake()], [undefined, 503]);
    assert.deepEqual([refused()["letIn"], refused()["rate"]], [100, 2]);
  });

  test("puts who comes above the rate in line, refuses whom the line has no time for", () => {
    const { now, admission, ask, shake, line, refused, waiting } = edge({
      ...{ ...slow, acceptWaitMsMax: 1_500 },
    });
    assert.deepEqual([shake(), shake()], [undefined, undefined]);
    const turns = Array.from({ length: 15 }, () => line());
    const waitsMs = turns.map(({ waitMs }) => Math.round(waitMs));
    assert.deepEqual(
      waitsMs,
      turns.map((_, at) => (at + 1) * 100),
    );
    assert.equal(waiting(), 15);
    const tooMany = ask();
    assert.ok(tooMany !== undefined && !isTurn(tooMany));
    assert.deepEqual([tooMany.status, tooMany.retryAfterSeconds], [503, 2]);
    now.ms += 1_000;
    for (const turn of turns.slice(0, 10)) assert.equal(turn.take(), undefined);
    assert.equal(Math.round(line().waitMs), 600, "it stands behind those before it");
    assert.deepEqual([waiting(), admission.inspect()["waited"], refused()["rate"]], [6, 16, 1]);
  });

  test("keeps room for those in line, and an address no more than its connections", () => {
    const full = edge({ ...slow, connectionsMax: 4 });
    full.shake();
    full.shake();
    full.now.connections = 2;
    const [first] = [full.line(), full.line()];
    assert.equal(full.shake(), 503);
    assert.equal(full.refused()["full"], 1);
    first?.leave();
    assert.equal(full.line().waitMs > 0, true);

    const perAddress = edge(
      { acceptsPerSecond: 10, acceptsBurst: 1 },
      { connectionsPerAddressMax: 2 },
    );
    perAddress.shake("192.0.2.1");
    perAddress.admission.opened(connectionId(0, 1));
    const turn = perAddress.line("192.0.2.1");
    assert.equal(perAddress.shake("192.0.2.1"), 429, "who is in line counts");
    assert.equal(turn.take(), undefined, "itself it does not keep out");
    perAddress.admission.opened(connectionId(1, 1));
    assert.equal(perAddress.shake("192.0.2.1"), 429);
    perAddress.line("192.0.2.2").leave();
    const others = [perAddress.line("192.0.2.2"), perAddress.line("192.0.2.2")];
    assert.equal(perAddress.shake("192.0.2.2"), 429);
    for (const other of others) other.leave();
    perAddress.line("192.0.2.2").leave();
  });

  test("asks all rules but the rate again when a turn has come, with the same draw", () => {
    const { now, conditions, shut, shake, line, refused, waiting } = edge(slow);
    conditions.letInPercent = 80;
    shake();
    shake();
    const turns = Array.from({ length: 5 }, () => line());
    now.draw = 0.99;
    now.ms += 600;
    assert.equal(turns[0]?.take(), undefined);
    conditions.letInPercent = 20;
    assert.equal(turns[1]?.take()?.status, 503);
    conditions.letInPercent = 100;
    conditions.lagMs = defaultLimits.acceptLagMaxMs + 1;
    assert.equal(turns[2]?.take()?.status, 503);
    conditions.lagMs = 0;
    shut.refusal = { status: 503, reason: "in drain" };
    assert.equal(turns[3]?.take(), shut.refusal);
    shut.refusal = undefined;
    now.connections = defaultLimits.connectionsMax;
    assert.equal(turns[4]?.take()?.status, 503);
    const { letIn, lag, full } = refused();
    assert.deepEqual([letIn, lag, full, waiting()], [1, 1, 1, 0]);
  });

  test("tells who is refused for now only after a while, where there is room for it", () => {
    const changes = {
      refusalHoldMs: 700,
      connectionsMax: 5,
      acceptsPerSecond: 10,
      acceptsBurst: 9,
    };
    const { now, conditions, admission, shake, line, refused } = edge(changes, {
      origins: new Set(["https://app.example.com"]),
    });
    const held = () => admission.inspect()["held"];
    conditions.letInPercent = 0;
    now.connections = 2;
    const turns = [line(), line(), line()];
    assert.deepEqual([turns[0]?.waitMs, held(), refused()["letIn"]], [700, 3, 3]);
    assert.equal(shake(), 503, "there is no room to hold one more");
    turns[0]?.leave();
    assert.equal(turns[1]?.take()?.retryAfterSeconds, 10);
    assert.deepEqual([held(), refused()["letIn"]], [1, 4]);
    conditions.letInPercent = 100;
    assert.equal(turns[2]?.take()?.status, 503, "what it was refused for was said");
    now.connections = 4;
    conditions.lagMs = 10_000;
    line();
    conditions.lagMs = 0;
    assert.equal(shake(), undefined, "who is held keeps nobody out");
    now.connections = 5;
    assert.equal(shake(), 503, "for good and all it is told at once");
  });

  test("tells the address of who waited, whoever came meanwhile", () => {
    const { admission, shake, line, node } = edge({ acceptsPerSecond: 10, acceptsBurst: 1 });
    node.apps.hasConnectUrls = true;
    shake("192.0.2.1");
    admission.opened(connectionId(0, 1));
    const [first, second] = [line("192.0.2.2"), line("192.0.2.3")];
    assert.equal(first?.take(), undefined);
    admission.opened(connectionId(1, 1));
    assert.equal(second?.take(), undefined);
    admission.opened(connectionId(2, 1));
    const addresses = [0, 1, 2].map((slot) => admission.addressAt(connectionId(slot, 1)));
    assert.deepEqual(addresses, ["192.0.2.1", "192.0.2.2", "192.0.2.3"]);
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
