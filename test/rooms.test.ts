/**
 * The law of the rooms: imports point one way, npm packages and Node stay where
 * they belong, no cycles, no barrel files. The law itself is test/support/room-law.ts.
 */
// biome-ignore-all lint/suspicious/noTemplateCurlyInString: sources are data here.
import { deepEqual, equal, ok } from "node:assert/strict";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { scanImports } from "./support/import-scan.js";
import { breaches, importsNode, reachableFrom, type Sources } from "./support/room-law.js";

/** This file runs as dist/test/rooms.test.js. */
const root = fileURLToPath(new URL("../../", import.meta.url));

function readSources(): Sources {
  const sources = new Map<string, string>();
  for (const folder of ["src", "actors", "topology"]) {
    for (const entry of readdirSync(join(root, folder), { recursive: true }) as string[]) {
      if (!entry.endsWith(".ts")) continue;
      const file = `${folder}/${entry.replaceAll("\\", "/")}`;
      sources.set(file, readFileSync(join(root, file), "utf8"));
    }
  }
  return sources;
}

/** The source behind each door of the package, by the door's name. */
function readDoors(): Map<string, string> {
  const { exports } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as {
    exports: Record<string, string>;
  };
  const doors = Object.entries(exports).map(
    ([name, built]) => [name, built.replace(/^\.\/dist\//, "").replace(/\.js$/, ".ts")] as const,
  );
  return new Map(doors);
}

function sourcesOf(files: Record<string, string>): Sources {
  return new Map(Object.entries(files));
}

describe("the sources", () => {
  const sources = readSources();
  const doors = readDoors();

  test("obey the law of the rooms", () => {
    deepEqual(breaches(sources, [...doors.values()]), []);
  });

  test("are there behind each door of the package", () => {
    for (const [name, file] of doors) ok(existsSync(join(root, file)), `${name} is ${file}`);
  });

  test("need no Node for the device's client", () => {
    const door = doors.get("./client");
    ok(door !== undefined);
    const reached = reachableFrom(door, sources);
    deepEqual(
      reached.filter((file) => importsNode(sources.get(file) ?? "")),
      [],
    );
  });
});

describe("the law", () => {
  const lawful = sourcesOf({
    "src/base/a.ts": "export const a = 1;",
    "src/runtime/ports.ts": `import type { A } from "../base/a.js";`,
    "src/protocol/p.ts": `import { pack } from "msgpackr";\nimport { a } from "../base/a.js";`,
    "src/drivers/d.ts": `import { connect } from "@nats-io/transport-node";
      import { readFile } from "node:fs/promises";
      import type { Bus } from "../runtime/ports.js";`,
    "topology/t.ts": `import { p } from "../src/protocol/p.js";`,
    "actors/edge.ts": `import { spawn } from "./connection.js";\nimport "../topology/t.js";`,
    "actors/connection.ts": `export { p } from "../src/protocol/p.js";\nexport const c = 1;`,
    "src/main/run.ts": `await import("../../actors/edge.js");\nawait import(name);`,
  });

  test("lets pass what is allowed", () => {
    deepEqual(breaches(lawful, []), []);
  });

  const unlawful: readonly (readonly [name: string, file: string, source: string])[] = [
    ["an upward edge", "src/base/b.ts", `import { p } from "../protocol/p.js";`],
    ["an upward edge of types only", "src/base/b.ts", `import type { P } from "../protocol/p.js";`],
    ["a type taken by import()", "src/base/b.ts", `let p: import("../protocol/p.js").P;`],
    ["an upward edge by re-export", "src/base/b.ts", `export * from "../protocol/p.js";\nf();`],
    ["an upward edge by name", "src/base/b.ts", `export { p as q } from "../protocol/p.js";\nf();`],
    ["an upward edge of effects only", "src/base/b.ts", `import "../protocol/p.js";`],
    ["an upward dynamic import", "src/base/b.ts", `const p = await import("../protocol/p.js");`],
    ["an upward require", "src/base/b.ts", `const p = require("../protocol/p.js");`],
    ["a computed import", "src/base/b.ts", "const p = await import(`../${name}.js`);"],
    ["another file of the runtime", "src/drivers/e.ts", `import "../runtime/other.js";`],
    ["a runtime that knows of pushes", "src/runtime/r.ts", `import "../protocol/p.js";`],
    ["an actor that knows a driver", "actors/x.ts", `import "../src/drivers/d.js";`],
    ["a client that knows a port", "src/client/c.ts", `import "../ports/p.js";`],
    ["an import of main", "src/cli/c.ts", `import "../main/run.js";`],
    ["NATS outside the drivers", "actors/x.ts", `import "@nats-io/kv";`],
    ["NATS outside the drivers, in main", "src/main/x.ts", `import "@nats-io/kv/internal";`],
    ["a package that is not listed", "src/drivers/e.ts", `import "left-pad";`],
    ["Node in an actor", "actors/x.ts", `import { join } from "node:path";`],
    ["Node in a device's client", "src/client/c.ts", `import "node:crypto";`],
    ["a barrel file", "src/base/b.ts", `/* all */ export * from "./a.js";`],
    ["a barrel of imports", "src/base/b.ts", `import { a } from "./a.js";\nexport { a };`],
    ["a file in no room", "src/utils.ts", "export const a = 1;"],
    ["a new room", "src/helpers/a.ts", "export const a = 1;"],
    ["a file that is not there", "src/base/b.ts", `import "./gone.js";`],
    ["a file beside the rooms", "src/base/b.ts", `import "../../test/a.js";`],
    ["a file that imports itself", "src/base/b.ts", `import type { B } from "./b.js";`],
  ];

  for (const [name, file, source] of unlawful) {
    test(`finds ${name}`, () => {
      const others = {
        "src/runtime/other.ts": "export const o = 1;",
        "src/ports/p.ts": "export const p = 1;",
      };
      const sources = sourcesOf({ ...Object.fromEntries(lawful), ...others, [file]: source });
      const found = breaches(sources, []);
      equal(found.length, 1, found.join("\n"));
      ok(found[0]?.includes(file), found[0]);
    });
  }

  test("finds a cycle between files, of types as well", () => {
    const sources = sourcesOf({
      "actors/a.ts": `import { b } from "./b.js";`,
      "actors/b.ts": `import type { C } from "./c.js";`,
      "actors/c.ts": `export type { A } from "./a.js";\nexport const c = 1;`,
    });
    deepEqual(breaches(sources, []), [
      "cycle: actors/a.ts → actors/b.ts → actors/c.ts → actors/a.ts",
    ]);
  });

  test("lets a door of the package only re-export", () => {
    const sources = sourcesOf({
      "src/base/a.ts": "export const a = 1;",
      "src/base/door.ts": `export { a } from "./a.js";\nexport type { A } from "./a.js";`,
    });
    deepEqual(breaches(sources, ["src/base/door.ts"]), []);
    equal(breaches(sources, []).length, 1);
  });

  test("follows imports to the end", () => {
    const sources = sourcesOf({
      "src/client/a.ts": `import { b } from "../base/b.js";`,
      "src/base/b.ts": `export { c } from "./c.js";`,
      "src/base/c.ts": `import { readFileSync } from "node:fs";`,
    });
    const reached = reachableFrom("src/client/a.ts", sources);
    deepEqual(reached, ["src/client/a.ts", "src/base/b.ts", "src/base/c.ts"]);
    ok(reached.some((file) => importsNode(sources.get(file) ?? "")));
  });
});

describe("the reader of imports", () => {
  const cases: readonly (readonly [source: string, specifiers: string[]])[] = [
    [`import a, { b as c } from "x";`, ["x"]],
    [`import * as a from 'x';`, ["x"]],
    [`import {\n  type a,\n  b,\n} from "x";\nimport "y";`, ["x", "y"]],
    [`import type a from "x" with { type: "json" };`, ["x"]],
    [`import { from } from "x";\nexport { a as from } from "y";`, ["x", "y"]],
    ["const a = await import(`x`);", ["x"]],
    [`export * as a from "x";\nexport type * from "y";`, ["x", "y"]],
    [`type A = Map<string, import("x").B>;`, ["x"]],
    [`// import "x";\n/* import "y"; */\nconst a = 'import "z"';`, []],
    ['const a = `import "x" ${await import("y")} from "z"`;', ["y"]],
    ['const a = `${{ b: `}` }}`;\nimport "x";', ["x"]],
    [`const a = /"/; import "x"; const b = c / d; const e = "/";`, ["x"]],
    [`const globs = "src/**/*.ts"; import "x"; // */`, ["x"]],
    [`const u = import.meta.url;\nexport function from() {}\nimport "x";`, ["x"]],
    [`export { a };\nexport default 1;\nexport const from = "x";`, []],
    [`a.import("x"); const b = { require: 1 };`, []],
  ];
  for (const [source, specifiers] of cases) {
    test(`reads ${JSON.stringify(source)}`, () => {
      deepEqual(scanImports(source).specifiers, specifiers);
    });
  }
});
