// Writes docs/client-vectors.json: what a client decides by itself, in steps with their
// outcomes, for clients in other languages. Run it after a build when a rule of
// docs/protocol.md changes; test/client/client-vectors.test.ts holds the code to it.
//
//   npx tsc -p tsconfig.json; node scripts/make-client-vectors.mjs
//   npx biome format --write docs/client-vectors.json
import { writeFileSync } from "node:fs";
import { addressAt } from "../dist/src/client/address-order.js";
import { readDirective } from "../dist/src/client/directive.js";
import { readDispatcherAnswer } from "../dist/src/client/dispatcher-answer.js";
import {
  afterBorne,
  afterSilence,
  heartbeatLimits,
  nothingKnown,
  wantedHeartbeatMs,
} from "../dist/src/client/heartbeat-plan.js";
import { presentationOf } from "../dist/src/client/presenter.js";
import { closeHintMs, ReconnectPace, retryAfterMs } from "../dist/src/client/reconnect-pace.js";
import { decodeServerFrame, encodeClientFrame } from "../dist/src/client/server-frames.js";
import { encodeFrame } from "../dist/src/protocol/frames.js";

function pace(name, { draw, own, steps }) {
  let nowMs = 0;
  const clock = { monotonicMs: () => nowMs };
  const made = new ReconnectPace(clock, { next: () => draw }, own ?? {});
  const done = steps.map((step) => {
    if (step.hold !== undefined) made.hold(step.hold);
    if (step.adopt !== undefined) made.adopt(step.adopt);
    if (step.reset) made.reset();
    if (step.passMs !== undefined) nowMs += step.passMs;
    if (step.wait) return { ...step, waitMs: made.nextMs() };
    if (step.hurry) return { ...step, waitMs: made.soonMs() };
    return step;
  });
  return { name, draw, ...(own === undefined ? {} : { own }), steps: done };
}

const wait = { wait: true };
const backoff = [
  pace("doubles up to the cap", { draw: 0.5, steps: Array(8).fill(wait) }),
  pace("a hint is a floor, and what is drawn comes on top over as long again", {
    draw: 0.25,
    steps: [{ hold: 8_000 }, wait, { passMs: 4_000 }, wait, { passMs: 4_000 }, wait],
  }),
  pace("the longest hint counts, at most an hour, and a reset does not end it", {
    draw: 0,
    steps: [{ hold: 90_000_000 }, { hold: 5 }, { reset: true }, wait],
  }),
  pace("a dispatcher's parameters take the place of the defaults", {
    draw: 0.5,
    steps: [{ adopt: { baseMs: 2_000, capMs: 3_000 } }, wait, wait],
  }),
  pace("and are never faster than the app's own", {
    draw: 0.5,
    own: { baseMs: 1_000, capMs: 60_000 },
    steps: [{ adopt: { baseMs: 10, capMs: 10 } }, wait, wait],
  }),
  pace("a hurry ends the drawn part, not the hint", {
    draw: 0.5,
    steps: [{ hurry: true }, { hold: 10_000 }, { hurry: true }],
  }),
];

const closeHints = [
  [1006, ""],
  [1013, ""],
  [4000, ""],
  [4005, ""],
  [4007, ""],
  [4005, "shedding retryAfterMs=12000"],
  [4000, "retryAfterMs=250"],
  [4000, "retryAfterMs=250 or so"],
].map(([code, reason]) => ({ code, reason, hintMs: closeHintMs(code, reason) }));

const retryAfter = ["7", "0", "-3", "soon", "Thu, 01 Jan 1970 00:00:10 GMT"].map((header) => ({
  header,
  wallMs: 4_000,
  hintMs: retryAfterMs(header, 4_000),
}));

function heartbeat(name, steps) {
  let memory = nothingKnown;
  const done = steps.map(([event, intervalMs, wallMs]) => {
    const after = event === "borne" ? afterBorne : afterSilence;
    memory = after(memory, intervalMs, wallMs, heartbeatLimits);
    const wanted = (isInFront) => wantedHeartbeatMs(memory, isInFront, heartbeatLimits) ?? null;
    return { event, intervalMs, wallMs, wantedMs: wanted(false), wantedInFrontMs: wanted(true) };
  });
  return { name, limits: heartbeatLimits, steps: done };
}

const times = (count, ...step) => Array.from({ length: count }, () => step);
const heartbeats = [
  heartbeat("grows after five whole silences", times(6, "borne", 30_000, 0)),
  heartbeat("stops at its bound", times(5, "borne", 200_000, 0)),
  heartbeat("shrinks to what was borne, and keeps away from what was lost for a day", [
    ...times(5, "borne", 60_000, 0),
    ["silence", 90_000, 1_000],
    ...times(5, "borne", 60_000, 2_000),
    ...times(5, "borne", 72_000, 3_000),
    ...times(5, "borne", 72_000, 86_402_000),
  ]),
  heartbeat("shrinks by half where nothing was borne, to its bound", [
    ["silence", 60_000, 0],
    ["silence", 30_000, 1],
    ["silence", 15_000, 2],
  ]),
  heartbeat("one loss of what was borne counts for nothing, a second one in a row does", [
    ["borne", 30_000, 0],
    ["silence", 30_000, 1],
    ["borne", 30_000, 2],
    ["silence", 30_000, 3],
    ["silence", 30_000, 4],
  ]),
];

const places = [
  { url: "wss://a/connect", idc: "home" },
  { url: "wss://b/connect", idc: "home" },
  { url: "wss://c/connect", idc: "away" },
];
const addresses = [null, "wss://b/connect", "wss://c/connect", "wss://gone/connect"].map(
  (lastGood) => ({
    edges: places,
    lastGood,
    attempts: Array.from({ length: 10 }, (_, at) => addressAt(places, lastGood ?? undefined, at)),
  }),
);

const answers = [
  ["as it should be", true, { edges: places, ttlMs: 60_000, letIn: 1 }],
  ["without TLS, asked by https", true, { edges: [{ url: "ws://a" }] }],
  ["without TLS, asked by http", false, { edges: [{ url: "ws://a" }] }],
  ["some that are no addresses", true, { edges: [7, {}, { url: "http://a" }, { url: "wss://a" }] }],
  ["none, and everybody may come", true, { edges: [] }],
  ["none, and nobody may come", true, { edges: [], letIn: 0 }],
  ["half may come", true, { edges: places, letIn: 0.5, retryAfterMs: 4_000 }],
  ["kept too long", true, { edges: places, ttlMs: 1e12 }],
  ["no map", true, []],
];
const dispatcher = answers.map(([name, isSecure, answer]) => {
  return { name, isSecure, answer, reads: readDispatcherAnswer(answer, isSecure) ?? null };
});

const directives = [
  { do: "reconnect" },
  { do: "reconnect", afterMs: 1_000, spreadMs: 30_000, edges: [{ url: "wss://b", idc: "y" }, 7] },
  { do: "reconnect", afterMs: -1, spreadMs: 1e12, edges: "x" },
  { do: "heartbeat", heartbeatMs: 60_000 },
  { do: "heartbeat", heartbeatMs: 0 },
  { do: "kick", reason: "signed out" },
  { do: "config", config: { version: 7 } },
  { do: "dance" },
  {},
].map((directive) => ({ directive, reads: readDirective(directive) ?? null }));

const presentation = ["notification", "transparent"].flatMap((kind) =>
  ["front", "background"].map((app) => ({ kind, app, goes: presentationOf(kind, app) })),
);

function frame(name, fields) {
  const isFromEdge = fields[0] >= 16;
  const [binary, text] = isFromEdge
    ? [encodeFrame(fields, false), Buffer.from(encodeFrame(fields, true)).toString()]
    : [encodeClientFrame(fields, false), encodeClientFrame(fields, true)];
  return { name, msgpack: Buffer.from(binary).toString("hex"), json: text };
}

const toEdge = [
  frame("tell", [6, { app: "background", network: "wifi", heartbeatMs: 90_000 }]),
  frame("call", [7, 0, 1, "orders", 10_000, { a: 1 }]),
];
const fromEdge = [
  frame("directive: heartbeat", [24, { do: "heartbeat", heartbeatMs: 90_000 }]),
  frame("directive: of a later version, ignored", [24, { do: "dance" }]),
  frame("answer", [25, 0, 1, null, { ok: true }]),
  frame("answer: refused", [25, 0, 2, "NO_SUCH_ROUTE", "nobody serves orders"]),
].map((made) => ({ ...made, reads: decodeServerFrame(made.json) }));

const about =
  "What a client decides by itself; docs/protocol.md says the rules. `backoff`: `draw` is what " +
  "each random number in [0, 1) is; steps change what is known, and `wait` (before an attempt) " +
  "or `hurry` ask for `waitMs`. `heartbeats`: a `borne` or lost (`silence`) interval at a wall " +
  "clock, and what is asked for after it, null for nothing. `addresses`: the address of each " +
  "attempt since one was last good. `dispatcher`, `directives`: what is read, null for what is " +
  "refused or ignored. `presentation`: `display` shows it first. `frames`: those that not every " +
  "edge has, in both forms, beside docs/protocol-vectors.json. Made by " +
  "scripts/make-client-vectors.mjs.";
const vectors = {
  about,
  version: 1,
  ...{ backoff, closeHints, retryAfter, heartbeats, addresses, dispatcher, directives },
  presentation,
  frames: { toEdge, fromEdge },
};
writeFileSync(
  new URL("../docs/client-vectors.json", import.meta.url),
  `${JSON.stringify(vectors, null, 2)}\n`,
);
