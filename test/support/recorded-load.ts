/**
 * A load that remembers all: services that push under the SDK's idempotency keys until
 * they are answered, services that publish and never hear of it, and devices; each push
 * carries its publisher's own number.
 *
 *   await using load = await RecordedLoad.start(platform, { users });
 *   …break something…
 *   await load.settle();   // throws what was lost, doubled, out of order or haunted
 */
import { setTimeout as delay } from "node:timers/promises";
import { createService, type Service } from "../../src/client/service-client.js";
import { connectNats, type NatsConnection } from "../../src/drivers/nats-connection.js";
import { app, type Platform } from "./platform.js";
import { type Habit, RecordedDevices } from "./recorded-devices.js";
import { faultsOf, type Push, RecordedHistory, summaryOf } from "./recorded-history.js";
import { whatIsUnsettled } from "./settled-platform.js";
import { until } from "./until.js";

export interface LoadPlan {
  readonly users: readonly string[];
  /** Each service pushes to each user so often, and never before the answer is there. */
  readonly everyMs?: number;
  /** Services that request, and ones that only publish. */
  readonly requesters?: number;
  readonly plainPublishers?: number;
  /** By user; every third has a second device, which never acknowledges. */
  readonly habits?: readonly Habit[];
}

const everyMsDefault = 500;
const habitsDefault: readonly Habit[] = ["steady", "slow", "restless", "fickle"];
const silentEvery = 3;
/** One request: what a dead owner had in its hands is asked for again so late. */
const timeoutMs = 1_000;
const backoff = { baseMs: 20, capMs: 200 };
/** Beyond, the platform has not come back. */
const pushDeadlineMs = 60_000;
const settleDeadlineMs = 60_000;

export class RecordedLoad implements AsyncDisposable {
  readonly history = new RecordedHistory();
  readonly devices: RecordedDevices;
  private readonly connections: NatsConnection[] = [];
  private readonly lanes: Promise<void>[] = [];
  private isRunning = true;

  private constructor(
    private readonly platform: Platform,
    private readonly plan: LoadPlan,
  ) {
    this.devices = new RecordedDevices(platform, this.history);
  }

  /** All devices are attached and the first pushes are answered when it resolves. */
  static async start(platform: Platform, plan: LoadPlan): Promise<RecordedLoad> {
    const load = new RecordedLoad(platform, plan);
    load.addDevices();
    await load.devices.untilAttached();
    load.devices.stir();
    for (let at = 0; at < (plan.requesters ?? 2); at++) await load.addService(`r${at}`, "request");
    for (let at = 0; at < (plan.plainPublishers ?? 1); at++) {
      await load.addService(`p${at}`, "plain");
    }
    await load.untilAnswered(plan.users.length);
    return load;
  }

  /** So many more requests were answered ok. */
  async untilAnswered(more: number): Promise<void> {
    const okCount = () => this.history.pushes.filter(({ outcome }) => outcome === "ok").length;
    const wanted = okCount() + more;
    await until(`${more} more requests are answered`, () => okCount() >= wanted, 90_000);
  }

  /** Ends the load, and lets every device come and acknowledge; then the history is whole. */
  async rest(): Promise<void> {
    await this.stop();
    await this.devices.calm();
    // Before they are back: a session that believes in the sockets of those who left shows.
    await this.untilSettled();
    this.devices.recall();
    await this.devices.untilAttached();
    await this.untilSettled();
  }

  /** Rests and judges: throws the faults that it found, or returns a line for people. */
  async settle(): Promise<string> {
    await this.rest();
    const faults = faultsOf(this.history);
    if (faults.length > 0) {
      const shown = faults.slice(0, 20).join("\n  ");
      throw new Error(`${faults.length} faults in ${summaryOf(this.history)}:\n  ${shown}`);
    }
    return summaryOf(this.history);
  }

  private async untilSettled(): Promise<void> {
    let unsettled: string | undefined;
    const isSettled = async () => {
      unsettled = await whatIsUnsettled(this.platform, this.devices);
      return unsettled === undefined;
    };
    await until("the platform has settled", isSettled, settleDeadlineMs).catch((error: Error) => {
      throw new Error(`${error.message}: ${unsettled}; ${summaryOf(this.history)}`);
    });
  }

  /** Resolves when every request has ended. */
  async stop(): Promise<void> {
    this.isRunning = false;
    await Promise.all(this.lanes);
  }

  private addDevices(): void {
    const { users, habits = habitsDefault } = this.plan;
    for (const [at, uid] of users.entries()) {
      this.devices.add(uid, "phone", habits[at % habits.length] ?? "steady");
      if (at % silentEvery === 0) this.devices.add(uid, "tablet", "silent");
    }
  }

  private async addService(name: string, kind: Push["kind"]): Promise<void> {
    const { user, pass: password, inboxPrefix } = this.platform.nats.credentials.app(app);
    const { url } = this.platform.nats;
    const connection = await connectNats({ url, name, user, password, inboxPrefix });
    this.connections.push(connection);
    const service = createService({ connection: connection.client, app, timeoutMs, backoff });
    const { users, everyMs = everyMsDefault } = this.plan;
    for (const [at, uid] of users.entries()) {
      this.lanes.push(this.runLane(name, kind, service, uid, (everyMs * at) / users.length));
    }
  }

  /** One publisher's pushes to one user, one after the other. */
  private async runLane(
    publisher: string,
    kind: Push["kind"],
    service: Service,
    uid: string,
    firstMs: number,
  ): Promise<void> {
    const { everyMs = everyMsDefault } = this.plan;
    let dueMs = performance.now() + firstMs;
    for (let number = 1; this.isRunning; number++) {
      await delay(Math.max(0, dueMs - performance.now()));
      if (!this.isRunning) return;
      const sentMs = performance.now();
      const push = this.history.notePush({ publisher, uid, number, kind, sentMs });
      const body = { publisher, number };
      if (kind === "plain") service.publish(uid, { body });
      else await request(service, push, body);
      dueMs = Math.max(dueMs + everyMs, performance.now());
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.isRunning = false;
    this.devices.close();
    // After a failure requests may still be repeated, and are not waited for.
    await Promise.all(this.connections.map((connection) => connection.close()));
  }
}

async function request(service: Service, push: Push, body: object): Promise<void> {
  const { uid, publisher, number } = push;
  const command = { body, id: `${publisher}-${number}` };
  try {
    const answer = await service.pushReliably(uid, command, { deadlineMs: pushDeadlineMs });
    push.outcome = answer.ok ? "ok" : answer.retryable ? "unknown" : "refused";
    if (answer.ok) push.id = answer.id;
    else push.why = answer.code;
  } catch (error) {
    push.outcome = "unknown";
    push.why = String(error);
  }
  push.endedMs = performance.now();
}
