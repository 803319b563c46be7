/**
 * A service that takes messages back and erases users, whatever else is going on. It has a
 * source of chance of its own, so that the seeds without it stay what they were.
 */
import { Fault } from "../../src/base/result.js";
import { packValue, unpackValue } from "../../src/protocol/codec.js";
import type { InboxAnswer } from "../../src/protocol/inbox-answer.js";
import { sessionKey, shardOfKey } from "../../src/protocol/shards.js";
import { shardInboxSubject } from "../../src/protocol/subjects.js";
import type { ModelPublisher } from "./model-publisher.js";
import { SeededRandom } from "./seeded-random.js";
import type { SimBus } from "./sim-bus.js";
import type { World } from "./world.js";

const everyMs = 400;
const requestDeadlineMs = 2_000;

export class ModelService {
  readonly counts = { recalls: 0, erasures: 0, lists: 0 };
  isWanted = true;
  private readonly random: SeededRandom;

  constructor(
    private readonly world: World,
    private readonly bus: SimBus,
    private readonly publishers: readonly ModelPublisher[],
  ) {
    this.random = new SeededRandom(world.seed + 7_777);
  }

  start(): void {
    if (!this.isWanted) return;
    void this.ask(this.random.pick(this.publishers));
    this.world.after(this.random.waitMs(everyMs), "service", () => this.start());
  }

  private async ask(publisher: ModelPublisher): Promise<void> {
    const { app, uid } = publisher.user;
    const key = sessionKey(app, uid);
    const request = this.draw(publisher);
    const subject = shardInboxSubject(shardOfKey(key), key);
    let answer: InboxAnswer;
    try {
      const bytes = await this.bus.request(subject, packValue(request), requestDeadlineMs);
      answer = unpackValue(bytes) as InboxAnswer;
    } catch (cause) {
      if (cause instanceof Fault) return;
      throw cause;
    }
    const isFinal = !answer.ok && !answer.retryable;
    if (isFinal) this.world.fail(new Error(`${request.op} of ${key}: ${JSON.stringify(answer)}`));
  }

  private draw(publisher: ModelPublisher): { readonly op: string } {
    const { random, counts } = this;
    const drawn = random.next();
    if (drawn < 0.1) {
      counts.erasures++;
      return { op: "erase" };
    }
    if (drawn < 0.2) {
      counts.lists++;
      return { op: "list" };
    }
    counts.recalls++;
    // The newest may still be on its way to somebody.
    const recent = publisher.accepted.slice(-4);
    if (recent.length === 0 || drawn < 0.3) {
      return { op: "recall", collapse: "newest" } as { op: string };
    }
    return { op: "recall", id: random.pick(recent).id } as { op: string };
  }
}
