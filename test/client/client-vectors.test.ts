/** What a device decides by itself is what docs/client-vectors.json says for all clients. */
import { deepEqual, equal } from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, test } from "node:test";
import { retryAfterMs } from "../../src/base/retry-after.js";
import { addressAt } from "../../src/client/address-order.js";
import type { AppState } from "../../src/client/app-state.js";
import type { BackoffLimits } from "../../src/client/backoff.js";
import { readDirective } from "../../src/client/directive.js";
import { type EdgeAddress, readDispatcherAnswer } from "../../src/client/dispatcher-answer.js";
import {
  afterBorne,
  afterSilence,
  type HeartbeatLimits,
  nothingKnown,
  wantedHeartbeatMs,
} from "../../src/client/heartbeat-plan.js";
import { presentationOf } from "../../src/client/presenter.js";
import { closeHintMs, ReconnectPace } from "../../src/client/reconnect-pace.js";
import { decodeServerFrame, encodeClientFrame } from "../../src/client/server-frames.js";
import { projectFile } from "../protocol/project-file.js";
import { VirtualClock } from "../support/virtual-clock.js";

interface PaceStep {
  readonly hold?: number;
  readonly adopt?: Partial<BackoffLimits>;
  readonly reset?: boolean;
  readonly passMs?: number;
  readonly wait?: boolean;
  readonly hurry?: boolean;
  readonly waitMs?: number;
}

interface HeartbeatStep {
  readonly event: "borne" | "silence";
  readonly intervalMs: number;
  readonly wallMs: number;
  readonly wantedMs: number | null;
  readonly wantedInFrontMs: number | null;
}

interface Forms {
  readonly name: string;
  readonly msgpack: string;
  readonly json: string;
}

interface Vectors {
  readonly backoff: readonly {
    readonly name: string;
    readonly draw: number;
    readonly own?: Partial<BackoffLimits>;
    readonly steps: readonly PaceStep[];
  }[];
  readonly closeHints: readonly { code: number; reason: string; hintMs: number }[];
  readonly retryAfter: readonly { header: string; wallMs: number; hintMs: number }[];
  readonly heartbeats: readonly {
    readonly name: string;
    readonly limits: HeartbeatLimits;
    readonly steps: readonly HeartbeatStep[];
  }[];
  readonly addresses: readonly {
    readonly edges: readonly EdgeAddress[];
    readonly lastGood: string | null;
    readonly attempts: readonly string[];
  }[];
  readonly dispatcher: readonly {
    readonly name: string;
    readonly isSecure: boolean;
    readonly answer: unknown;
    readonly reads: unknown;
  }[];
  readonly directives: readonly { directive: unknown; reads: unknown }[];
  readonly presentation: readonly {
    readonly kind: "notification" | "transparent";
    readonly app: AppState;
    readonly goes: string;
  }[];
  readonly frames: {
    readonly toEdge: readonly Forms[];
    readonly fromEdge: readonly (Forms & { readonly reads: unknown })[];
  };
}

const vectors = JSON.parse(
  readFileSync(projectFile("docs/client-vectors.json"), "utf8"),
) as Vectors;

describe("when to come back", () => {
  for (const { name, draw, own, steps } of vectors.backoff) {
    test(name, () => {
      const clock = new VirtualClock(0);
      const pace = new ReconnectPace(clock, { next: () => draw }, own);
      for (const step of steps) {
        if (step.hold !== undefined) pace.hold(step.hold);
        if (step.adopt !== undefined) pace.adopt(step.adopt);
        if (step.reset === true) pace.reset();
        if (step.passMs !== undefined) clock.advance(step.passMs);
        if (step.wait === true) equal(pace.nextMs(), step.waitMs);
        if (step.hurry === true) equal(pace.soonMs(), step.waitMs);
      }
    });
  }

  test("by the code and the reason of a close, and by Retry-After", () => {
    for (const { code, reason, hintMs } of vectors.closeHints) {
      equal(closeHintMs(code, reason), hintMs, `${code} ${reason}`);
    }
    for (const { header, wallMs, hintMs } of vectors.retryAfter) {
      equal(retryAfterMs(header, wallMs), hintMs, header);
    }
  });
});

describe("heartbeats", () => {
  for (const { name, limits, steps } of vectors.heartbeats) {
    test(name, () => {
      let memory = nothingKnown;
      for (const { event, intervalMs, wallMs, wantedMs, wantedInFrontMs } of steps) {
        const after = event === "borne" ? afterBorne : afterSilence;
        memory = after(memory, intervalMs, wallMs, limits);
        equal(wantedHeartbeatMs(memory, false, limits) ?? null, wantedMs);
        equal(wantedHeartbeatMs(memory, true, limits) ?? null, wantedInFrontMs);
      }
    });
  }
});

test("the order of addresses", () => {
  for (const { edges, lastGood, attempts } of vectors.addresses) {
    const tried = attempts.map((_, at) => addressAt(edges, lastGood ?? undefined, at));
    deepEqual(tried, attempts);
  }
});

describe("a dispatcher's answer", () => {
  for (const { name, isSecure, answer, reads } of vectors.dispatcher) {
    test(name, () => deepEqual(readDispatcherAnswer(answer, isSecure) ?? null, reads));
  }
});

test("directives", () => {
  for (const { directive, reads } of vectors.directives) {
    deepEqual(readDirective(directive) ?? null, reads, JSON.stringify(directive));
  }
});

test("who gets a message", () => {
  for (const { kind, app, goes } of vectors.presentation) equal(presentationOf(kind, app), goes);
});

describe("frames that not every edge has", () => {
  for (const { name, msgpack, json } of vectors.frames.toEdge) {
    test(`writes ${name}`, () => {
      const frame = JSON.parse(json) as unknown[];
      equal(Buffer.from(encodeClientFrame(frame, false) as Uint8Array).toString("hex"), msgpack);
      equal(encodeClientFrame(frame, true), json);
    });
  }

  for (const { name, msgpack, json, reads } of vectors.frames.fromEdge) {
    test(`reads ${name}`, () => {
      deepEqual(decodeServerFrame(json), reads);
      deepEqual(decodeServerFrame(Uint8Array.from(Buffer.from(msgpack, "hex"))), reads);
    });
  }
});
