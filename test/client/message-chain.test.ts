/** The chain's verdicts, and that a client over a lossy hop shows everything once, in order. */
import { deepEqual, equal, ok } from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { createDevice } from "../../src/client/device-client.js";
import { isCovered, judgeLink } from "../../src/client/message-chain.js";
import { memoryStorage } from "../../src/client/platform.js";
import { clientKinds } from "../../src/protocol/frames.js";
import { VirtualClock } from "../support/virtual-clock.js";
import { FakeEdge, type FakeSocket, tokenFor } from "./fake-edge.js";

describe("a frame", () => {
  const last = { generation: 5, seq: 10 };
  const verdicts: [generation: number, seq: number, prev: number, verdict: string][] = [
    [5, 11, 10, "take"],
    [5, 15, 10, "take"],
    [5, 10, 9, "duplicate"],
    [5, 10, 14, "duplicate"],
    [5, 1, 0, "duplicate"],
    [5, 12, 11, "resend"],
    [5, 12, 9, "resend"],
    [4, 11, 10, "stale"],
    [6, 11, 10, "resend"],
    [6, 1, 0, "resend"],
  ];
  for (const [generation, seq, prev, verdict] of verdicts) {
    test(`(${generation}, ${seq}) after ${prev} is to ${verdict} behind (5, 10)`, () => {
      equal(judgeLink(last, { generation, seq, prev }), verdict);
    });
  }

  test("is covered by a position at or behind it in its own generation only", () => {
    equal(isCovered(last, { generation: 5, seq: 10 }), true);
    equal(isCovered(last, { generation: 5, seq: 9 }), false);
    equal(isCovered(last, { generation: 6, seq: 99 }), false);
    equal(isCovered(last, undefined), false);
  });
});

/** What happens to the session's next step. */
type Fate = "arrives" | "is lost" | "comes twice" | "connection drops" | "handler fails";

/** A session that sends all it has behind the base, over a hop that may lose frames. */
class LossySession {
  readonly sizes: number;
  acked = 0;
  private sent = 0;
  private readAcks = 0;
  private readonly fates: Fate[];

  constructor(
    sizes: number,
    fates: readonly Fate[],
    private readonly onFate: (fate: Fate) => void,
  ) {
    this.sizes = sizes;
    // A copy: else what fails is told, and made smaller, without its fates.
    this.fates = [...fates];
  }

  attach(socket: FakeSocket): void {
    this.readAcks = 0;
    const position = socket.hello.position as [number, number] | undefined;
    this.acked = Math.max(this.acked, position?.[1] ?? 0);
    this.sent = this.acked;
    socket.welcome();
    socket.attached(1, this.sent);
  }

  /** One step: reads what the client said, sends one message. */
  step(socket: FakeSocket): void {
    for (const [kind, , , seq] of socket.received.slice(this.readAcks)) {
      if (kind === clientKinds.resend) {
        this.sent = Number(seq);
        socket.attached(1, this.sent);
      }
      if (kind !== clientKinds.ack) continue;
      ok(Number(seq) <= this.sizes, "an ack names what exists");
      this.acked = Math.max(this.acked, Number(seq));
    }
    this.readAcks = socket.received.length;
    // Nothing to send: what is not acknowledged goes out again.
    if (this.sent >= this.sizes) {
      this.sent = this.acked;
      socket.attached(1, this.sent);
    }
    if (this.sent >= this.sizes) return;
    const prev = this.sent++;
    const fate = this.fates.shift() ?? "arrives";
    this.onFate(fate);
    if (fate === "is lost") return;
    socket.message(this.sent, prev);
    if (fate === "comes twice") socket.message(this.sent, prev);
    if (fate === "connection drops") socket.drop();
  }
}

const roundMs = 100;
const backoff = { baseMs: 500, capMs: 30_000 };

describe("a device on a lossy way", () => {
  test("shows everything once and in order, and acknowledges only that", async () => {
    const fate = fc.constantFrom<Fate[]>(
      ...(["arrives", "is lost", "comes twice", "connection drops", "handler fails"] as const),
    );
    const run = fc.asyncProperty(
      fc.integer({ min: 1, max: 12 }),
      fc.array(fate, { maxLength: 25 }),
      fc.boolean(),
      async (size, fates, isSlow) => {
        const edge = new FakeEdge();
        const clock = new VirtualClock();
        const shown: string[] = [];
        let isFailing = false;
        const session = new LossySession(size, fates, (next) => {
          isFailing = next === "handler fails";
        });
        const device = createDevice({
          url: "ws://edge",
          getToken: async () => tokenFor("alice"),
          socket: edge.constructorForClients,
          storage: memoryStorage(),
          random: { next: () => 0.5 },
          backoff,
          clock,
          onMessage: async ({ id }) => {
            const fails = isFailing;
            isFailing = false;
            if (isSlow) await new Promise<void>((resolve) => void clock.after(70, resolve));
            if (fails) throw new Error("not now");
            shown.push(id);
            ok(session.acked < shown.length, "nothing is acknowledged before it is shown");
          },
        });
        device.connect();
        // Each fate may cost a connection, and the backoff before the next is up to `capMs`:
        // with rounds for a few of those only, one run of some hundred ended too early.
        const roundsMax = 300 + (fates.length * backoff.capMs) / roundMs;
        for (let round = 0; round < roundsMax && session.acked < size; round++) {
          await clock.advanceAndSettle(roundMs);
          const socket = edge.sockets.at(-1);
          if (socket === undefined) continue;
          if (device.state.name === "attached") session.step(socket);
          else if (device.state.name === "connecting" && socket.readyState === 0) {
            socket.open();
            session.attach(socket);
          }
        }
        device.close();
        equal(session.acked, size, "everything is acknowledged in the end");
        deepEqual(
          shown,
          Array.from({ length: size }, (_, index) => `m${index + 1}`),
        );
      },
    );
    await fc.assert(run, { numRuns: 40 });
  });
});
