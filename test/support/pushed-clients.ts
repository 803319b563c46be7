/**
 * Many users with a device each, pushed to all the while: how often each one connects, and
 * whether it is shown all that was accepted, once and in order.
 *
 *   const clients = await PushedClients.start(platform, 500, ["a"]);
 *   …move them…
 *   await clients.settle();
 */
import assert from "node:assert/strict";
import { setTimeout as delay } from "node:timers/promises";
import type { DeviceState } from "../../src/client/device-client.js";
import { EdgeSockets } from "./edge-sockets.js";
import type { Platform } from "./platform.js";
import { until } from "./until.js";

/** Of each so many clients one speaks JSON. */
const jsonEvery = 4;
/** Mere patience: tests hold that nothing fails, and a busy machine is no failure. */
const answerMs = 10_000;
const repeatEveryMs = 50;
const repeatMsMax = 60_000;

export interface PushedClient {
  readonly uid: string;
  readonly shown: number[];
  readonly accepted: number[];
  state: DeviceState["name"];
  /** Of what its device was told to deal with, the last one. */
  lastError: string;
}

export class PushedClients {
  readonly sockets: EdgeSockets;
  readonly all: PushedClient[] = [];
  /** Requests that were not answered ok, and were repeated. */
  readonly failed: string[] = [];
  private isPushing = true;
  private pushing: Promise<void> = Promise.resolve();
  private sent = 0;

  private constructor(
    private readonly platform: Platform,
    nodes: readonly string[],
  ) {
    this.sockets = new EdgeSockets(platform, nodes);
  }

  /** `nodes`: of the edges that they know themselves; of others they are told. */
  static async start(
    platform: Platform,
    count: number,
    nodes: readonly string[],
    pushesPerSecond = 200,
  ): Promise<PushedClients> {
    const clients = new PushedClients(platform, nodes);
    for (let at = 0; at < count; at++) clients.add(`user-${at}`, at % jsonEvery === 0);
    await clients.untilAttached();
    clients.pushing = clients.pushAll(pushesPerSecond);
    return clients;
  }

  private add(uid: string, isJson: boolean): void {
    const client: PushedClient = { uid, shown: [], accepted: [], state: "idle", lastError: "" };
    this.all.push(client);
    this.platform.device(uid, {
      urls: this.sockets.urls,
      socket: this.sockets.socketOf(uid),
      protocol: isJson ? "belfry.v1.json" : "belfry.v1",
      onMessage: ({ body }) => void client.shown.push(body as number),
      onState: ({ name }) => {
        client.state = name;
      },
      onError: ({ message }) => {
        client.lastError = message;
      },
    });
  }

  async untilAttached(deadlineMs = 60_000): Promise<void> {
    await until("all are attached", () => this.areAttached, deadlineMs);
  }

  get areAttached(): boolean {
    return this.all.every(({ state }) => state === "attached");
  }

  connectsOf({ uid }: PushedClient): number {
    return this.sockets.openedBy(uid);
  }

  get accepted(): number {
    return this.all.reduce((sum, { accepted }) => sum + accepted.length, 0);
  }

  async untilAccepted(more: number): Promise<void> {
    const wanted = this.accepted + more;
    await until(`${more} more pushes are accepted`, () => this.accepted >= wanted, 60_000);
  }

  /** Ends the pushes; then everybody is to be shown all of theirs. */
  async settle(): Promise<void> {
    this.isPushing = false;
    await this.pushing;
    for (const { uid, shown, accepted } of this.all) {
      await until(`${uid} is shown all`, () => new Set(shown).size >= accepted.length, 60_000);
      assert.deepEqual(shown, accepted, `${uid}: in order, none twice`);
    }
  }

  /** To each user one after the other, so that what is accepted has one order. */
  private async pushAll(perSecond: number): Promise<void> {
    const last = new Map<PushedClient, Promise<void>>();
    const startMs = performance.now();
    for (; this.isPushing; this.sent++) {
      const client = this.all[this.sent % this.all.length] as PushedClient;
      const body = this.sent;
      const before = last.get(client) ?? Promise.resolve();
      last.set(
        client,
        before.then(() => this.push(client, body)),
      );
      const dueMs = startMs + ((this.sent + 1) * 1_000) / perSecond;
      await delay(Math.max(0, dueMs - performance.now()));
    }
    await Promise.all(last.values());
  }

  /** As publishers do: again under its key until its fate is known. */
  private async push({ uid, accepted }: PushedClient, body: number): Promise<void> {
    const endMs = performance.now() + repeatMsMax;
    for (;;) {
      const answer = await this.platform.tryPush(uid, { body, id: `push-${body}` }, answerMs);
      if (answer?.ok) {
        accepted.push(body);
        return;
      }
      const said = answer?.code ?? "no answer";
      this.failed.push(`${uid} ${body}: ${said}`);
      if (performance.now() > endMs) throw new Error(`${uid} ${body} is never accepted: ${said}`);
      await delay(repeatEveryMs);
    }
  }
}
