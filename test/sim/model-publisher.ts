/**
 * A service that pushes to one user: requests under idempotency keys, repeated until
 * their fate is known (by the impatient also before), and plain publishes, of which it
 * knows nothing afterwards; some of them the same to the byte.
 */
import { Fault } from "../../src/base/result.js";
import { packValue, unpackValue } from "../../src/protocol/codec.js";
import type { PushAnswer } from "../../src/protocol/push-answer.js";
import { type Shard, sessionKey, shardOfKey } from "../../src/protocol/shards.js";
import { shardPushSubject } from "../../src/protocol/subjects.js";
import type { Payload } from "./payload.js";
import type { PushLedger } from "./push-ledger.js";
import type { SimBus } from "./sim-bus.js";
import type { World } from "./world.js";

export interface PublisherPlan {
  readonly name: string;
  readonly app: string;
  readonly uid: string;
  readonly everyMs: number;
  /** Probabilities. */
  readonly plain: number;
  readonly shortLived: number;
  readonly collapsing: number;
  /** For one device of the user only. */
  readonly targeted: number;
  /** At most once, under a key all the same. */
  readonly passing: number;
  /** Sends a request twice at once. */
  readonly impatient: number;
  /** Nothing that is published now may get lost. */
  readonly isSheltered: () => boolean;
}

export interface AcceptedPush {
  readonly payload: Payload;
  readonly id: string;
  readonly seq: number;
}

const requestDeadlineMs = 2_000;
const attemptsMax = 12;
const burstMs = 700;

export class ModelPublisher {
  readonly accepted: AcceptedPush[] = [];
  readonly counts = { requests: 0, repeats: 0, refused: 0, givenUp: 0, plain: 0 };
  isWanted = true;
  private number = 0;
  private open = 0;

  constructor(
    private readonly world: World,
    private readonly plan: PublisherPlan,
    private readonly bus: SimBus,
    private readonly ledger: PushLedger,
  ) {}

  get user(): { readonly app: string; readonly uid: string } {
    return this.plan;
  }

  get shard(): Shard {
    return shardOfKey(sessionKey(this.plan.app, this.plan.uid));
  }

  /** Of the pushes that are the same to the byte. */
  get echoName(): string {
    return `${this.plan.name}-echo`;
  }

  get isIdle(): boolean {
    return this.open === 0;
  }

  start(): void {
    if (!this.isWanted) return;
    this.push();
    const { world, plan } = this;
    world.after(world.random.waitMs(plan.everyMs), plan.name, () => this.start());
  }

  /** Plain publishes in quick succession, while the user's shard moves. */
  burst(): void {
    if (!this.isWanted) return;
    const { world, plan } = this;
    const everyMs = world.random.between(4, 40);
    const endMs = world.nowMs + world.random.between(burstMs / 4, burstMs);
    const next = (): void => {
      if (world.nowMs > endMs || !this.isWanted) return;
      if (world.random.chance(0.5)) this.publishPlain({ publisher: this.echoName, number: 0 });
      else this.publishPlain({ publisher: plan.name, number: ++this.number });
      world.after(world.random.waitMs(everyMs), plan.name, next);
    };
    world.after(world.random.between(0, everyMs), plan.name, next);
  }

  private push(): void {
    const { random } = this.world;
    const { name, plain, shortLived, collapsing, targeted, passing } = this.plan;
    const payload: Payload = { publisher: name, number: ++this.number };
    if (random.chance(plain)) {
      this.publishPlain(payload);
      return;
    }
    const command = {
      body: payload,
      id: `${name}-${payload.number}`,
      ...(random.chance(shortLived) ? { ttl: 1 + random.below(8) } : {}),
      ...(random.chance(targeted) ? { target: { device: "d0" } } : {}),
      ...(random.chance(passing) ? { qos: 0 } : {}),
      ...(random.chance(collapsing) ? { collapse: "newest" } : {}),
    };
    this.open++;
    this.counts.requests++;
    void this.request(packValue(command), payload).finally(() => this.open--);
  }

  private publishPlain(payload: Payload): void {
    const { random } = this.world;
    const command = {
      body: payload,
      ...(random.chance(this.plan.shortLived) && payload.number > 0
        ? { ttl: 1 + random.below(8) }
        : {}),
    };
    this.counts.plain++;
    this.ledger.notePublished(payload, this.plan.isSheltered());
    if (payload.number > 0 && this.plan.isSheltered()) this.ledger.noteSentOnce(payload);
    this.bus.publish(this.subject, packValue(command));
  }

  private get subject(): string {
    const key = sessionKey(this.plan.app, this.plan.uid);
    return shardPushSubject(shardOfKey(key), key);
  }

  private async request(command: Uint8Array, payload: Payload): Promise<void> {
    const { subject } = this;
    const isTwice = this.world.random.chance(this.plan.impatient);
    const isCalm = this.plan.isSheltered();
    this.ledger.notePublished(payload, false);
    for (let attempt = 0; attempt < attemptsMax; attempt++) {
      if (attempt > 0) this.counts.repeats++;
      if (isTwice) void this.answerTo(subject, command);
      const answer = await this.answerTo(subject, command);
      if (answer?.ok) {
        const { id, seq } = answer;
        if (attempt === 0 && !isTwice && isCalm) this.ledger.noteSentOnce(payload);
        // At most once: handed on, and nobody's concern any more.
        if (seq > 0) this.accepted.push({ payload, id, seq });
        return;
      }
      if (answer !== undefined && !answer.retryable) {
        this.counts.refused++;
        this.world.fail(new Error(`${payload.publisher}#${payload.number}: ${answer.code}`));
        return;
      }
      await this.pause(attempt);
    }
    this.counts.givenUp++;
  }

  /** Undefined: nobody knows whether it was accepted. */
  private async answerTo(subject: string, command: Uint8Array): Promise<PushAnswer | undefined> {
    try {
      return unpackValue(await this.bus.request(subject, command, requestDeadlineMs)) as PushAnswer;
    } catch (cause) {
      if (cause instanceof Fault) return undefined;
      throw cause;
    }
  }

  private pause(attempt: number): Promise<void> {
    const { world } = this;
    const waitMs = world.random.between(20, 100 * 2 ** Math.min(attempt, 5));
    return new Promise((resolve) => void world.after(waitMs, this.plan.name, resolve));
  }
}
