// Says how large the SDK is in a browser: the modules behind each of its doors with what
// they import (msgpackr's as well), joined, without comments; as they are, and as servers
// send them. Not minified: a bundler makes it smaller.
//
//   node scripts/client-size.mjs [--json]
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { brotliCompressSync, gzipSync } from "node:zlib";
import { root } from "./process.mjs";

const doors = {
  "belfry/client": "device-client",
  "belfry/client/tabs": "shared-device",
  "belfry/service-worker": "service-worker",
};
/** Of a module that the compiler or a package wrote: `from "…"`, or `import "…"`. */
const imports = /^\s*(?:import|export)\s(?:[\w\s{},*$]+\sfrom\s*)?["']([^"']+)["']/gm;

const built = mkdtempSync(join(tmpdir(), "belfry-client-size-"));
try {
  const sources = Object.values(doors).map((door) => join(root, "src/client", `${door}.ts`));
  const tsc = join(root, "node_modules/typescript/bin/tsc");
  const options = ["--module", "nodenext", "--target", "es2022", "--lib", "es2023,dom"];
  const places = ["--rootDir", root, "--outDir", built, "--types", "node"];
  const quiet = ["--removeComments", "--skipLibCheck", "--ignoreConfig", "--strict"];
  execFileSync(process.execPath, [tsc, ...sources, ...options, ...places, ...quiet], {
    cwd: root,
    stdio: ["ignore", "ignore", "inherit"],
  });
  const sizes = Object.entries(doors).map(([name, door]) => {
    const modules = reachable(join(built, "src/client", `${door}.js`));
    const own = [...modules].filter(([file]) => file.startsWith(built)).map(([, text]) => text);
    const [all, alone] = [[...modules.values()], own].map((texts) => Buffer.from(texts.join("\n")));
    return {
      door: name,
      modules: modules.size,
      bytes: all.length,
      gzip: gzipSync(all, { level: 9 }).length,
      brotli: brotliCompressSync(all).length,
      gzipWithoutMsgpackr: gzipSync(alone, { level: 9 }).length,
    };
  });
  if (process.argv.includes("--json")) process.stdout.write(`${JSON.stringify(sizes)}\n`);
  else console.table(sizes);
} finally {
  rmSync(built, { recursive: true, force: true });
}

/** Each module that `entry` needs, by its file. */
function reachable(entry, modules = new Map()) {
  if (modules.has(entry)) return modules;
  const text = readFileSync(entry, "utf8");
  // msgpackr's own come with comments; those that stand on lines of their own go.
  modules.set(entry, text.replace(/^\s*(?:\/\/.*|\/\*[\s\S]*?\*\/)\s*$/gm, ""));
  for (const [, name] of text.matchAll(imports)) {
    if (name.startsWith(".")) reachable(join(dirname(entry), name), modules);
    else reachable(join(root, "node_modules", name, "index.js"), modules);
  }
  return modules;
}
