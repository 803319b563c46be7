/** What every EventLog keeps (src/ports/event-log.ts). Run by one file a driver. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { Fault } from "../../src/base/result.js";
import type { EventLog, LoggedEvent } from "../../src/ports/event-log.js";
import { until } from "../support/until.js";

export interface EventLogFixture {
  readonly log: EventLog;
  /** All that it holds, in its order. */
  stored(): Promise<readonly LoggedEvent[]>;
  /** Until `back` nothing is taken, and publishers are told so in time. */
  away(): Promise<void>;
  back(): Promise<void>;
  dispose(): Promise<void>;
}

/** `subject`: a user's own each time, so that tests do not see each other's events. */
function eventsOf(name: string, count: number): LoggedEvent[] {
  return Array.from({ length: count }, (_, index) => ({
    subject: `event.demo.receipt.${name}`,
    id: `dc1-7-${name}-${index}`,
    payload: new TextEncoder().encode(JSON.stringify({ name, index })),
  }));
}

function plain({ subject, payload }: LoggedEvent): string {
  return `${subject} ${new TextDecoder().decode(payload)}`;
}

export function eventLogContract(name: string, start: () => Promise<EventLogFixture>): void {
  describe(`event log: ${name}`, () => {
    let fixture: EventLogFixture;
    before(async () => {
      fixture = await start();
    });
    after(() => fixture?.dispose());

    const storedOf = async (subject: string) =>
      (await fixture.stored()).filter((event) => event.subject === subject).map(plain);

    test("holds what was published, in its order", async () => {
      const events = eventsOf("order", 20);
      for (const event of events) {
        assert.deepEqual(await fixture.log.publish(event), { isDuplicate: false });
      }
      assert.deepEqual(await storedOf("event.demo.receipt.order"), events.map(plain));
    });

    test("forgets what is under one user's subjects, and nothing else", async () => {
      const subjects = ["alice.online", "alice.offline", "alice2.online"];
      for (const [at, subject] of subjects.entries()) {
        const payload = new TextEncoder().encode("{}");
        await fixture.log.publish({ subject: `event.demo.user.${subject}`, id: `f${at}`, payload });
      }
      await fixture.log.forget("event.demo.user.alice.>");
      await fixture.log.forget("event.demo.user.nobody.>");
      const left = (await fixture.stored()).map(({ subject }) => subject);
      assert.deepEqual(
        left.filter((subject) => subject.startsWith("event.demo.user.")),
        ["event.demo.user.alice2.online"],
      );
    });

    test("takes many at once, each of them once", async () => {
      const events = eventsOf("many", 200);
      await Promise.all(events.map((event) => fixture.log.publish(event)));
      const stored = await storedOf("event.demo.receipt.many");
      assert.deepEqual([...stored].sort(), events.map(plain).sort());
    });

    test("knows an event that it has by its id, whatever else is in it", async () => {
      const [event] = eventsOf("again", 1) as [LoggedEvent];
      await fixture.log.publish(event);
      const other = { ...event, payload: new TextEncoder().encode("under another epoch") };
      assert.deepEqual(await fixture.log.publish(other), { isDuplicate: true });
      assert.deepEqual(await storedOf(event.subject), [plain(event)]);
    });

    test("refuses while it is away, and takes the same event when it is back", async () => {
      const [event] = eventsOf("away", 1) as [LoggedEvent];
      await fixture.away();
      await assert.rejects(
        fixture.log.publish(event),
        (cause) => cause instanceof Fault && cause.code === "EVENTS_UNAVAILABLE",
      );
      await fixture.back();
      await until("it takes events again", () =>
        fixture.log.publish(event).then(
          () => true,
          () => false,
        ),
      );
      assert.deepEqual(await storedOf(event.subject), [plain(event)]);
    });
  });
}
