/** Every close code is documented, and its range says what the client does. */
import { deepEqual, equal, ok } from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, test } from "node:test";
import { clientCloseCodes } from "../../src/client/edge-connection.js";
import { type CloseName, closeCodes, mayComeBack } from "../../src/protocol/close-codes.js";
import { projectFile } from "./project-file.js";

const document = readFileSync(projectFile("docs/protocol.md"), "utf8");
const section = document.split(/^## Close codes$/m)[1]?.split(/^## /m)[0] ?? "";
const rows = [...section.matchAll(/^\| (\d{4}) \| `([A-Z_]+)` \| (yes|no) \| .+ \|$/gm)];

describe("the close codes", () => {
  test("are the rows of docs/protocol.md", () => {
    const documented = rows.map(([, code, name]) => [name, Number(code)]);
    const known = Object.entries(closeCodes).map(([name, { code }]) => [name, code]);
    deepEqual(documented.sort(), known.sort());
  });

  for (const [, code, name, comesBack] of rows) {
    test(`has ${name} documented as it is`, () => {
      equal(closeCodes[name as CloseName].code, Number(code));
      equal(comesBack, mayComeBack(Number(code)) ? "yes" : "no");
    });
  }

  test("are unique, in the range for applications, and fit a close frame", () => {
    const entries = Object.values(closeCodes);
    equal(new Set(entries.map(({ code }) => code)).size, entries.length);
    for (const { code, meaning } of entries) {
      ok(code >= 4_000 && code <= 4_999);
      // RFC 6455, 5.5: a control frame has at most 125 bytes, two of them the code.
      ok(Buffer.byteLength(meaning) <= 123);
    }
  });

  test("of others mean come back", () => {
    for (const code of [1_000, 1_001, 1_006, 1_012, 4_000, 4_499, 5_000]) {
      equal(mayComeBack(code), true, String(code));
    }
    for (const code of [4_500, 4_999]) equal(mayComeBack(code), false, String(code));
  });

  test("of the client are documented too", () => {
    for (const code of Object.values(clientCloseCodes)) ok(section.includes(`${code}`), `${code}`);
  });
});
