/** Every code that a call may end with is documented as it is, and nothing else is. */
import { deepEqual, equal } from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { callCodes, outcomeOf } from "../../src/protocol/call-codes.js";
import { projectFile } from "./project-file.js";

const document = readFileSync(projectFile("docs/protocol.md"), "utf8");
const section = document.split(/^### `\[25, /m)[1]?.split(/^## /m)[0] ?? "";
const rows = [...section.matchAll(/^\| `([A-Z_]+)` \| ([a-z-]+) \| (.+) \|$/gm)];

test("the codes of calls are the rows of docs/protocol.md", () => {
  const written = rows.map(([, code, outcome, meaning]) => [code, { outcome, meaning }]);
  deepEqual(Object.fromEntries(written), callCodes);
});

test("a code that is not the platform's is a service's refusal", () => {
  equal(outcomeOf("SOLD_OUT"), "refused");
  equal(outcomeOf("toString"), "refused");
  equal(outcomeOf("TIMEOUT"), "unknown");
});
