/** When an edge asks whether a client is there, and when it gives it up, on virtual time. */
import assert from "node:assert/strict";
import { beforeEach, describe, test } from "node:test";
import { EdgeContext, sweepParts } from "../../actors/edge-context.js";
import { defaultLimits, type Limits } from "../../actors/limits.js";
import type { NodeContext } from "../../actors/node-context.js";
import { PlacementView } from "../../actors/placement-view.js";
import { type ConnectionId, connectionId } from "../../src/ports/edge-transport.js";
import { closeCodes } from "../../src/protocol/close-codes.js";
import { serverKinds } from "../../src/protocol/frames.js";
import { plainPolicy } from "../../topology/edge-policy.js";
import { MemoryTransport } from "../support/memory-transport.js";
import { VirtualClock } from "../support/virtual-clock.js";

const second = 1_000;
const kib = 1_024;
const { heartbeatMs: plainMs, heartbeatDeadlineMs } = defaultLimits;
const { moveWithinMs, attemptsMax, ackWaitMs } = defaultLimits;

/** Bytes in transit, as a test says. */
class SlowTransport extends MemoryTransport {
  buffered = 0;
  unfinished = 0;

  /** A large one is no frame, and of interest by its length alone. */
  override send(connection: ConnectionId, frame: Uint8Array): void {
    if (frame.length < kib) super.send(connection, frame);
  }

  override bufferedBytes(): number {
    return this.buffered;
  }

  override unfinishedBytes(): number {
    return this.unfinished;
  }
}

class HeartbeatBench {
  readonly clock = new VirtualClock();
  readonly transport = new SlowTransport();
  readonly view = new PlacementView();
  readonly edge: EdgeContext;
  private nextSlot = 0;

  constructor(limits: Partial<Limits> = {}) {
    const { clock, transport, view } = this;
    const node = { clock, transport, view, limits: { ...defaultLimits, ...limits } };
    const surroundings = { send: () => true, startTick: () => undefined };
    const children = { tell: () => true, spawn: () => undefined, end: () => undefined };
    this.edge = new EdgeContext(node as unknown as NodeContext, surroundings, children);
  }

  greet(said: Parameters<EdgeContext["greet"]>[1], id = connectionId(this.nextSlot++, 1)) {
    this.transport.sent.set(id, []);
    this.edge.open(id, false);
    this.edge.noteHello(id);
    this.edge.greet(id, said);
    return id;
  }

  /** Second by second, as the edge does; `each` is what the client does meanwhile. */
  pass(ms: number, each: () => void = () => undefined): void {
    for (let passed = 0; passed < ms; passed += second) {
      this.clock.advance(second);
      each();
      for (let part = 0; part < sweepParts; part++) this.edge.sweep(part);
    }
  }

  /** For how long it stays, from now on; at most `mostMs`. */
  staysFor(id: ConnectionId, mostMs: number, each?: () => void): number {
    const fromMs = this.clock.monotonicMs();
    while (this.closeOf(id) === undefined && this.clock.monotonicMs() - fromMs < mostMs) {
      this.pass(second, each);
    }
    return this.clock.monotonicMs() - fromMs;
  }

  pingsTo(id: ConnectionId): number {
    return this.framesTo(id, serverKinds.ping).length;
  }

  framesTo(id: ConnectionId, kind: number): unknown[][] {
    return (this.transport.sent.get(id) ?? []).filter(([each]) => each === kind);
  }

  directivesTo(id: ConnectionId): unknown[] {
    return this.framesTo(id, serverKinds.directive).map(([, directive]) => directive);
  }

  closeOf(id: ConnectionId): number | undefined {
    return this.transport.closed.get(id);
  }
}

const beat = (heartbeatMs: number) => ({ do: "heartbeat", heartbeatMs });

let bench: HeartbeatBench;
beforeEach(() => {
  bench = new HeartbeatBench();
});

describe("a heartbeat", () => {
  test("comes at the interval that was granted, each client's own", () => {
    const plain = bench.greet({});
    const slow = bench.greet({ network: "cellular", app: "background" });
    const quick = bench.greet({ heartbeatMs: 20 * second });
    bench.pass(240 * second, () => {
      for (const id of [plain, slow, quick]) bench.edge.noteHeard(id);
    });
    assert.deepEqual(
      [plain, slow, quick].map((id) => bench.pingsTo(id)),
      [8, 1, 12],
    );
  });

  test("is asked for part by part of those who came together, and of each once a second", () => {
    const all = Array.from({ length: 2 * sweepParts }, () => bench.greet({}));
    const asked = () => all.filter((id) => bench.pingsTo(id) > 0).length;
    bench.clock.advance(30 * second);
    bench.edge.sweep(0);
    assert.equal(asked(), 2);
    for (let part = 1; part < sweepParts; part++) bench.edge.sweep(part);
    assert.equal(asked(), all.length);
  });

  test("that is not answered for 2.5 of its own intervals ends the connection", () => {
    for (const everyMs of [20 * second, 60 * second, 240 * second]) {
      const id = bench.greet({ heartbeatMs: everyMs });
      const stays = bench.staysFor(id, 3 * everyMs);
      assert.ok(
        stays > 2.5 * everyMs && stays <= 2.5 * everyMs + 2 * second,
        `${everyMs}: ${stays}`,
      );
      assert.equal(bench.closeOf(id), closeCodes.HEARTBEAT_LOST.code);
      assert.equal(bench.pingsTo(id), 2);
    }
  });

  test("of a slot is not its former tenant's", () => {
    const first = connectionId(3, 1);
    bench.greet({ heartbeatMs: 240 * second }, first);
    bench.edge.heartbeats.order(first, 1_000 * second);
    bench.edge.close(first, "GOING_AWAY");
    bench.edge.forget(first);
    const next = bench.greet({}, connectionId(3, 2));
    assert.equal(bench.edge.heartbeats.everyMsOf(next), plainMs);
    bench.edge.hearTell(next, { heartbeatMs: 45 * second });
    assert.equal(bench.edge.heartbeats.everyMsOf(next), 45 * second);
  });

  test("follows what the client tells, which hears what is granted where that is news", () => {
    const id = bench.greet({ network: "wifi", app: "front" });
    assert.equal(bench.edge.hearTell(id, { network: "wifi", app: "front" }), false);
    assert.deepEqual(bench.directivesTo(id), []);
    assert.equal(bench.edge.hearTell(id, { network: "wifi", app: "background" }), true);
    assert.equal(bench.edge.hearTell(id, { heartbeatMs: 3_600 * second }), false);
    assert.equal(bench.edge.hearTell(id, { heartbeatMs: 300 * second }), false);
    // Not granted again: what counts is the same, and still not what was asked for.
    assert.equal(bench.edge.hearTell(id, { heartbeatMs: 3_600 * second }), false);
    const granted = [120, 300, 300].map((seconds) => beat(seconds * second));
    assert.deepEqual(bench.directivesTo(id), granted);
    assert.equal(bench.edge.appStates.of(id), "background", "as it was told last");
    bench.edge.noteHeard(id);
    bench.pass(299 * second);
    assert.equal(bench.pingsTo(id), 0);
  });

  test("is an operator's word for as long as the connection lasts", () => {
    const id = bench.greet({ network: "wifi" });
    bench.edge.heartbeats.order(id, 10 * second);
    bench.edge.hearTell(id, { heartbeatMs: 200 * second });
    assert.deepEqual(bench.directivesTo(id), [beat(10 * second)]);
    bench.pass(60 * second, () => bench.edge.noteHeard(id));
    assert.equal(bench.pingsTo(id), 6);
  });

  test("keeps bounds that operators change, told with the next one", () => {
    const id = bench.greet({ heartbeatMs: 100 * second });
    const other = bench.greet({ heartbeatMs: 50 * second });
    bench.view.edgePolicy = { ...plainPolicy, heartbeat: { maxMs: 60 * second } };
    const hear = () => {
      for (const each of [id, other]) bench.edge.noteHeard(each);
    };
    bench.pass(99 * second, hear);
    assert.deepEqual(bench.directivesTo(id), []);
    bench.pass(second, hear);
    assert.deepEqual(
      [bench.directivesTo(id), bench.directivesTo(other)],
      [[beat(60 * second)], []],
    );
    bench.pass(60 * second, hear);
    assert.equal(bench.pingsTo(id), 2);
    bench.view.edgePolicy = { ...plainPolicy, heartbeat: { minMs: 90 * second } };
    assert.equal(bench.edge.heartbeats.everyMsOf(bench.greet({})), 90 * second);
    bench.view.edgePolicy = { ...plainPolicy, heartbeat: { maxMs: 5 * second } };
    assert.equal(bench.edge.heartbeats.everyMsOf(bench.greet({})), 5 * second);
  });
});

describe("a frame in transit", () => {
  const lostMs = heartbeatDeadlineMs + second;

  test("keeps a peer that sends it at 1 KiB a second, until it is whole", () => {
    const id = bench.greet({});
    // It was last heard, then began: the pong has to wait for the frame's end.
    const send = () => {
      bench.transport.unfinished += kib;
    };
    bench.pass(20 * second);
    bench.pass(64 * second, send);
    assert.equal(bench.closeOf(id), undefined);
    bench.transport.unfinished = 0;
    bench.edge.noteHeard(id);
    bench.pass(heartbeatDeadlineMs);
    assert.equal(bench.closeOf(id), undefined);
  });

  test("does not keep one that dribbles", () => {
    const id = bench.greet({});
    const stays = bench.staysFor(id, 1_000 * second, () => {
      bench.transport.unfinished += kib / 8;
    });
    // 75 s, and an eighth of a second for each that passes meanwhile.
    assert.ok(stays > lostMs && stays < 90 * second, `${stays}`);
  });

  test("keeps nobody for longer than a whole one takes", () => {
    const id = bench.greet({});
    const stays = bench.staysFor(id, 1_000 * second, () => {
      bench.transport.unfinished += 100 * kib;
    });
    assert.ok(stays >= lostMs + 63 * second && stays <= lostMs + 65 * second, `${stays}`);
  });

  test("keeps a peer that reads it at 1 KiB a second, the ping behind it", () => {
    const id = bench.greet({});
    bench.pass(20 * second);
    bench.edge.send(id, new Uint8Array(60 * kib));
    bench.transport.buffered = 60 * kib;
    bench.pass(60 * second, () => {
      bench.transport.buffered = Math.max(0, bench.transport.buffered - kib);
    });
    assert.equal(bench.closeOf(id), undefined);
    bench.pass(50 * second);
    assert.equal(bench.closeOf(id), undefined, "the last of it is with the kernel, or on its way");
    assert.ok(bench.staysFor(id, 1_000 * second) < 10 * second);
  });

  test("does not keep one that reads nothing", () => {
    const id = bench.greet({});
    bench.edge.send(id, new Uint8Array(60 * kib));
    bench.transport.buffered = 60 * kib + 100;
    const stays = bench.staysFor(id, 1_000 * second);
    assert.ok(stays <= lostMs + second, `${stays}`);
  });
});

describe("a stored message that is out", () => {
  test("ends a dead link before its message counts as one that no device can bear", () => {
    const id = bench.greet({ heartbeatMs: 240 * second });
    bench.pass(100 * second);
    // Sent again each time its ack is late, until it would be set aside.
    let sends = 0;
    const fromMs = bench.clock.monotonicMs();
    const stays = bench.staysFor(id, 1_000 * second, () => {
      const passedMs = bench.clock.monotonicMs() - fromMs - second;
      if (passedMs % ackWaitMs !== 0) return;
      sends++;
      bench.edge.send(id, new Uint8Array(66 * kib));
      bench.edge.heartbeats.noteOwed(id);
    });
    assert.ok(stays < attemptsMax * ackWaitMs, `${stays} ms, sent ${sends} times`);
    assert.equal(bench.closeOf(id), closeCodes.HEARTBEAT_LOST.code);
  });

  test("is asked about soon, once: an answer of any kind ends that", () => {
    const id = bench.greet({ heartbeatMs: 240 * second });
    bench.edge.heartbeats.noteOwed(id);
    bench.pass(plainMs);
    assert.equal(bench.pingsTo(id), 1);
    bench.edge.noteHeard(id);
    bench.pass(200 * second);
    assert.deepEqual([bench.pingsTo(id), bench.closeOf(id)], [1, undefined]);
  });
});

test("what is waited for lies below what sets a message aside", () => {
  assert.ok(heartbeatDeadlineMs + 64 * second + moveWithinMs < attemptsMax * ackWaitMs);
});
