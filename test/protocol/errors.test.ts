/** Every code that a service may get is documented, and nothing else is. */
import { deepEqual, equal, match } from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, test } from "node:test";
import { type ErrorCode, errorAnswer, errorTable } from "../../src/protocol/errors.js";
import { projectFile } from "./project-file.js";

const document = readFileSync(projectFile("docs/api.md"), "utf8");
const section = document.split(/^## Error codes$/m)[1]?.split(/^## /m)[0] ?? "";
const rows = [...section.matchAll(/^\| `([A-Z_]+)` \| (yes|no) \| (.+) \|$/gm)];

describe("the error codes", () => {
  test("are the rows of docs/api.md", () => {
    deepEqual(rows.map(([, code]) => code).sort(), Object.keys(errorTable).sort());
  });

  for (const [, code, retryable, advice] of rows) {
    test(`has ${code} documented as it is`, () => {
      const entry = errorTable[code as ErrorCode];
      equal(retryable, entry.retryable ? "yes" : "no");
      match(advice ?? "", /\S/);
    });
  }

  for (const code of Object.keys(errorTable) as ErrorCode[]) {
    test(`answers ${code} with its meaning unless told another`, () => {
      const { retryable, meaning } = errorTable[code];
      deepEqual(errorAnswer(code), { ok: false, code, message: meaning, retryable });
      equal(errorAnswer(code, "other").message, "other");
    });
  }
});
