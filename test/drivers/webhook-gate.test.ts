/** When a webhook is asked: room for every app, a circuit for each, and the time it asks for. */
import { deepEqual, equal, ok } from "node:assert/strict";
import { describe, test } from "node:test";
import {
  defaultWebhookLimits,
  WebhookGate,
  type WebhookTurn,
  webhookLimits,
} from "../../src/drivers/webhook-gate.js";

const limits = {
  ...{ nodeMax: 20, failuresMax: 3 },
  ...{ trialMs: 1_000, trialMsMax: 4_000, pauseMsMax: 60_000 },
};

function gateAt(startMs = 10_000) {
  const gate = new WebhookGate(limits);
  const now = { ms: startMs };
  const enter = (app = "shop"): WebhookTurn => {
    const entry = gate.enter(app, now.ms);
    ok(entry.isOpen, `${app} is turned away`);
    return entry.turn;
  };
  const waitOf = (app = "shop"): number => {
    const entry = gate.enter(app, now.ms);
    ok(!entry.isOpen, `${app} is let through`);
    return entry.retryAfterMs;
  };
  const shut = (app = "shop") => {
    for (let count = 0; count < limits.failuresMax; count++) gate.failed(enter(app), now.ms);
  };
  return { gate, now, enter, waitOf, shut };
}

describe("a webhook's gate", () => {
  test("has one app's requests bounded, and gives each turn again", () => {
    const { gate, enter, waitOf } = gateAt();
    const turns = Array.from({ length: 4 }, () => enter());
    equal(waitOf(), 1_000);
    gate.answered(turns[0] as WebhookTurn);
    enter();
    waitOf();
  });

  test("leaves room for the next app when twenty hang at once", () => {
    const gate = new WebhookGate();
    const held = (app: string, count: number) =>
      Array.from({ length: count }, () => gate.enter(app, 0)).filter(({ isOpen }) => isOpen).length;
    const { nodeMax } = defaultWebhookLimits;
    equal(held("slow0", nodeMax), Math.ceil(nodeMax / 5));
    for (let app = 1; app < 20; app++) held(`slow${app}`, nodeMax);
    equal(held("quick", 1), 1);
  });

  test("shuts after failures in a row, tries once when its time has come, each time later", () => {
    const { gate, now, enter, waitOf } = gateAt();
    gate.failed(enter(), now.ms);
    gate.answered(enter());
    gate.failed(enter(), now.ms);
    gate.failed(enter(), now.ms);
    const [last, late, early] = [enter(), enter(), enter()];
    now.ms += 1;
    equal(gate.failed(last, now.ms), true, "that one shut it");
    equal(waitOf(), 1_000);
    equal(gate.failed(late, now.ms), false);
    gate.answered(early);
    equal(waitOf(), 1_000, "what was asked before says nothing of now");
    let waitMs = 1_000;
    for (const againMs of [2_000, 4_000, 4_000]) {
      now.ms += waitMs - 1;
      waitOf();
      now.ms += 1;
      const trial = enter();
      equal(waitOf(), 1_000, "one trial at a time");
      equal(gate.failed(trial, now.ms), false, "it was shut already");
      equal(waitOf(), againMs);
      waitMs = againMs;
    }
  });

  test("opens for all when a trial is answered, and is quick to try after the next failure", () => {
    const { gate, now, enter, waitOf, shut } = gateAt();
    shut();
    now.ms += 1_000;
    gate.failed(enter(), now.ms);
    now.ms += 2_000;
    equal(gate.answered(enter()), true);
    enter();
    gate.answered(enter());
    shut();
    equal(waitOf(), 1_000);
  });

  test("of one app says nothing of another's", () => {
    const { enter, waitOf, shut } = gateAt();
    shut("broken");
    waitOf("broken");
    enter("shop");
  });

  test("holds for as long as the webhook asked, within a bound", () => {
    const { gate, now, enter, waitOf } = gateAt();
    equal(gate.pause("shop", 5_000, now.ms), 5_000);
    gate.pause("shop", 1_000, now.ms);
    equal(waitOf(), 5_000);
    now.ms += 5_000;
    enter();
    equal(gate.pause("shop", 1e9, now.ms), 60_000);
  });

  test("forgets what was of another URL, and counts what is still under way to it", () => {
    const { gate, now, enter, shut } = gateAt();
    shut();
    gate.forget("shop");
    const old = enter();
    gate.forget("shop");
    gate.failed(old, now.ms);
    const { shop } = gate.inspect() as { shop?: unknown };
    equal(shop, undefined);
    for (let count = 0; count < 4; count++) enter();
    deepEqual(gate.inspect()["shop"], {
      ...{ circuit: "closed", underWay: 4, asked: 4, failed: 0, turnedAway: 0 },
    });
  });

  test("is as wide as the process has descriptors for", () => {
    deepEqual(webhookLimits(18_000), defaultWebhookLimits);
    const small = webhookLimits(182);
    equal(small.nodeMax, 11);
  });
});
