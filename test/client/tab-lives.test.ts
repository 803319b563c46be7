/** Tabs that come, go, freeze and hang at random, under pushes: nothing lost, nothing twice. */
import { deepEqual, ok } from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { Device } from "../../src/client/device-client.js";
import { memoryStorage } from "../../src/client/platform.js";
import { createSharedDevice } from "../../src/client/shared-device.js";
import { clientKinds } from "../../src/protocol/frames.js";
import { VirtualClock } from "../support/virtual-clock.js";
import { FakeEdge, type FakeSocket, tokenFor } from "./fake-edge.js";
import { FakeBrowser, type FakeTab } from "./fake-tabs.js";

interface Tab {
  readonly device: Device;
  readonly page: FakeTab;
  readonly shown: number[];
  life: "awake" | "frozen" | "hanging" | "closed";
}

type Step =
  | { readonly do: "open" }
  | { readonly do: "push" }
  | { readonly do: "cut" }
  | { readonly do: "pass"; readonly ms: number }
  | { readonly do: "close" | "freeze" | "resume" | "hang"; readonly tab: number };

const tabsMax = 5;
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 2, arbitrary: fc.constant({ do: "open" } as const) },
  { weight: 6, arbitrary: fc.constant({ do: "push" } as const) },
  { weight: 1, arbitrary: fc.constant({ do: "cut" } as const) },
  { weight: 2, arbitrary: fc.nat(15_000).map((ms) => ({ do: "pass", ms }) as const) },
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constantFrom("close", "freeze", "resume", "hang"),
      tab: fc.nat(tabsMax - 1),
    }),
  },
);

/** A browser, its tabs and an edge that keeps what is not acknowledged. */
class World {
  readonly clock = new VirtualClock();
  readonly tabs: Tab[] = [];
  last = 0;
  private readonly edge = new FakeEdge();
  private readonly storage = memoryStorage();
  private readonly browser = new FakeBrowser();
  private readonly sent = new Map<FakeSocket, number>();
  private acked = 0;
  private draws = 0;

  async run(one: Step): Promise<void> {
    switch (one.do) {
      case "open":
        this.open();
        break;
      case "push":
        this.last += 1;
        break;
      case "cut":
        if (this.socket !== undefined) this.socket.drop();
        break;
      case "pass":
        // Little by little, as the edge answers and beats meanwhile.
        for (let at = 0; at < one.ms; at += 3_000) await this.settle(3_000);
        break;
      default:
        this.change(this.tabs[one.tab], one.do);
    }
    await this.settle(60);
  }

  /** All who can be are awake, and have time. */
  async calmDown(): Promise<void> {
    for (const tab of this.tabs) if (tab.life === "frozen") this.change(tab, "resume");
    if (!this.tabs.some(({ life }) => life === "awake")) this.open();
    for (let round = 0; round < 40; round++) await this.settle(3_000);
  }

  open(): void {
    if (this.tabs.filter(({ life }) => life === "awake").length >= tabsMax) return;
    const shown: number[] = [];
    const page = this.browser.tab();
    const device = createSharedDevice({
      ...{ share: "alice", url: "ws://edge", tabs: page, clock: this.clock, storage: this.storage },
      socket: this.edge.constructorForClients,
      getToken: async () => tokenFor("alice"),
      random: { next: () => (this.draws = (this.draws + 0.137) % 1) },
      // Slow enough to be at work when its tab, or another one, goes.
      onMessage: ({ position }) => {
        const seq = position?.seq ?? 0;
        return new Promise<void>((resolve) => {
          this.clock.after((seq * 37) % 190, () => {
            shown.push(seq);
            resolve();
          });
        });
      },
    });
    this.tabs.push({ device, page, shown, life: "awake" });
    device.connect();
  }

  private change(tab: Tab | undefined, what: "close" | "freeze" | "resume" | "hang"): void {
    if (tab === undefined || tab.life === "closed" || tab.life === "hanging") return;
    if (what === "resume" && tab.life === "frozen") {
      tab.life = "awake";
      tab.page.resume();
    } else if (what === "freeze" && tab.life === "awake") {
      tab.life = "frozen";
      tab.page.freeze();
    } else if (what === "close") {
      tab.life = "closed";
      tab.device.close();
    } else if (what === "hang" && tab.life === "awake") {
      tab.life = "hanging";
      tab.page.hang();
    }
  }

  private get socket(): FakeSocket | undefined {
    const { sockets } = this.edge;
    return sockets.findLast((socket) => socket.readyState === 1 && socket.closedWith === undefined);
  }

  private async settle(ms: number): Promise<void> {
    await this.clock.settle();
    this.serve();
    await this.clock.advanceAndSettle(ms);
    this.serve();
  }

  private serve(): void {
    for (const socket of this.edge.sockets) {
      if (socket.readyState === 0) this.accept(socket);
      for (const ack of socket.ofKind(clientKinds.ack)) {
        this.acked = Math.max(this.acked, Number(ack[3]));
      }
    }
    const { socket } = this;
    if (socket === undefined) return;
    for (let seq = (this.sent.get(socket) ?? 0) + 1; seq <= this.last; seq++) {
      socket.message(seq, seq - 1);
      this.sent.set(socket, seq);
    }
    socket.reply([20, 1]);
  }

  private accept(socket: FakeSocket): void {
    socket.open();
    if (socket.closedWith !== undefined) return;
    const [, seq = 0] = (socket.hello.position ?? []) as number[];
    this.acked = Math.max(this.acked, seq);
    for (const other of this.edge.sockets) {
      if (other !== socket && other.readyState === 1) other.drop(4505);
    }
    socket.welcome();
    this.sent.set(socket, this.acked);
    socket.attached(1, this.acked);
  }
}

test("tabs show what is pushed once and in order, whatever becomes of them", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 40 }), async (steps) => {
      const world = new World();
      world.open();
      for (const one of steps) await world.run(one);
      await world.calmDown();
      const all = new Set(world.tabs.flatMap(({ shown }) => shown));
      const expected = Array.from({ length: world.last }, (_, at) => at + 1);
      deepEqual(
        [...all].sort((one, other) => one - other),
        expected,
        "nothing lost",
      );
      for (const { shown } of world.tabs) {
        for (const [at, seq] of shown.entries()) {
          ok(at === 0 || seq > (shown[at - 1] ?? 0), `in order, and once: ${shown.join(" ")}`);
        }
      }
      const awake = world.tabs.filter(({ life }) => life === "awake");
      for (const { device } of awake) ok(device.state.name === "attached", device.state.name);
      for (const { device } of world.tabs) device.close();
      await world.clock.settle();
      ok(world.clock.pendingTimers === 0, `${world.clock.pendingTimers} timers`);
    }),
    { numRuns: 100 },
  );
});
