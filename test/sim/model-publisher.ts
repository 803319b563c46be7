/**
 * A service that pushes to one user: requests under idempotency keys, repeated until
 * their fate is known, and plain publishes, of which it knows nothing afterwards.
 */
import { Fault } from "../../src/base/result.js";
import { packValue, unpackValue } from "../../src/protocol/codec.js";
import type { PushAnswer } from "../../src/protocol/push-answer.js";
import { sessionKey, shardOfKey } from "../../src/protocol/shards.js";
import { shardPushSubject } from "../../src/protocol/subjects.js";
import type { Payload } from "./model-device.js";
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
}

export interface AcceptedPush {
  readonly payload: Payload;
  readonly id: string;
  readonly seq: number;
}

const requestDeadlineMs = 2_000;
const attemptsMax = 12;

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
  ) {}

  get isIdle(): boolean {
    return this.open === 0;
  }

  start(): void {
    if (!this.isWanted) return;
    this.push();
    const { world, plan } = this;
    world.after(world.random.waitMs(plan.everyMs), plan.name, () => this.start());
  }

  private push(): void {
    const { random } = this.world;
    const { app, uid, name, plain, shortLived, collapsing, targeted, passing } = this.plan;
    const payload: Payload = { publisher: name, number: ++this.number };
    const isPlain = random.chance(plain);
    const command = {
      body: payload,
      ...(isPlain ? {} : { id: `${name}-${payload.number}` }),
      ...(random.chance(shortLived) ? { ttl: 1 + random.below(8) } : {}),
      ...(random.chance(targeted) ? { target: { device: "d0" } } : {}),
      ...(random.chance(passing) ? { qos: 0 } : {}),
      ...(random.chance(collapsing) ? { collapse: "newest" } : {}),
    };
    const key = sessionKey(app, uid);
    const subject = shardPushSubject(shardOfKey(key), key);
    if (isPlain) {
      this.counts.plain++;
      this.bus.publish(subject, packValue(command));
    } else {
      this.open++;
      this.counts.requests++;
      void this.request(subject, packValue(command), payload).finally(() => this.open--);
    }
  }

  private async request(subject: string, command: Uint8Array, payload: Payload): Promise<void> {
    for (let attempt = 0; attempt < attemptsMax; attempt++) {
      if (attempt > 0) this.counts.repeats++;
      const answer = await this.answerTo(subject, command);
      if (answer?.ok) {
        const { id, seq } = answer;
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
