/** Requests to an inbox as services send them: both encodings, and everything bad. */
import { deepEqual, equal, ok } from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { packValue } from "../../src/protocol/codec.js";
import { decodeInboxRequest, listLimitMax } from "../../src/protocol/inbox-request.js";

const id = "0DGZRG3G80100001";
const json = (value: unknown) => new TextEncoder().encode(JSON.stringify(value));

describe("a request to an inbox", () => {
  const good: readonly (readonly [object, object])[] = [
    [{ op: "list" }, { op: "list", after: 0, limit: 100 }],
    [
      { op: "list", after: 7, limit: listLimitMax, more: 1 },
      { op: "list", after: 7, limit: listLimitMax },
    ],
    [
      { op: "recall", id },
      { op: "recall", id },
    ],
    [
      { op: "recall", id: null, collapse: "score" },
      { op: "recall", collapse: "score" },
    ],
    [{ op: "erase", id: 5 }, { op: "erase" }],
  ];
  for (const [sent, read] of good) {
    test(`reads ${JSON.stringify(sent)} in both encodings`, () => {
      for (const bytes of [json(sent), packValue(sent)]) {
        deepEqual(decodeInboxRequest(bytes), { ok: true, value: read });
      }
    });
  }

  const bad: readonly (readonly [unknown, string])[] = [
    [{}, "BAD_COMMAND"],
    [{ op: 1 }, "BAD_COMMAND"],
    [{ op: "ERASE" }, "UNSUPPORTED"],
    [{ op: "drop" }, "UNSUPPORTED"],
    [{ op: "list", after: -1 }, "BAD_COMMAND"],
    [{ op: "list", after: "7" }, "BAD_COMMAND"],
    [{ op: "list", limit: 0 }, "BAD_COMMAND"],
    [{ op: "list", limit: listLimitMax + 1 }, "BAD_COMMAND"],
    [{ op: "list", limit: 1.5 }, "BAD_COMMAND"],
    [{ op: "recall" }, "BAD_COMMAND"],
    [{ op: "recall", id, collapse: "k" }, "BAD_COMMAND"],
    [{ op: "recall", id: "nonsense" }, "BAD_COMMAND"],
    [{ op: "recall", id: 5 }, "BAD_COMMAND"],
    [{ op: "recall", collapse: "" }, "BAD_COMMAND"],
    [{ op: "recall", collapse: "ä".repeat(33) }, "BAD_COMMAND"],
    [["op", "erase"], "BAD_ENCODING"],
    ["erase", "BAD_ENCODING"],
    [null, "BAD_ENCODING"],
  ];
  for (const [sent, code] of bad) {
    test(`refuses ${JSON.stringify(sent)} as ${code}`, () => {
      for (const bytes of [json(sent), packValue(sent)]) {
        const read = decodeInboxRequest(bytes);
        equal(!read.ok && read.code, code);
      }
    });
  }

  test("never throws, whatever the bytes", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
        const read = decodeInboxRequest(bytes);
        ok(read.ok || read.code !== undefined);
      }),
    );
  });
});
