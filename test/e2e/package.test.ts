/** The packed package in an empty folder: each of its doors works by itself, with its types. */
import assert from "node:assert/strict";
import { copyFile, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { decodeMsgId } from "../../src/protocol/msg-id.js";
import { app, type Platform, startPlatform } from "../support/platform.js";
import { type ProgramOptions, Scratch } from "../support/scratch.js";

/** This file runs as dist/test/e2e/package.test.js. */
const root = fileURLToPath(new URL("../../../", import.meta.url));
const npmDeadlineMs = 120_000;

interface Manifest {
  readonly version: string;
  readonly exports: Readonly<Record<string, string>>;
  readonly dependencies: Readonly<Record<string, string>>;
}

let scratch: Scratch;
let platform: Platform;
let manifest: Manifest;
let packed: readonly string[];

before(async () => {
  scratch = await Scratch.create("package");
  manifest = JSON.parse(await readFile(join(root, "package.json"), "utf8"));
  [platform] = await Promise.all([startPlatform({ nodes: ["a"] }), packAndInstall()]);
});

after(async () => {
  await platform?.[Symbol.asyncDispose]();
  await scratch?.[Symbol.asyncDispose]();
});

async function packAndInstall(): Promise<void> {
  const pack = ["pack", "--json", "--pack-destination", scratch.folder];
  const told = await scratch.run("npm", pack, { cwd: root, deadlineMs: npmDeadlineMs });
  const [tarball] = JSON.parse(told) as { filename: string; files: { path: string }[] }[];
  assert.ok(tarball !== undefined);
  packed = tarball.files.map(({ path }) => path);
  await writeFile(join(scratch.folder, "package.json"), '{ "private": true }\n');
  // What the examples import by themselves; the rest comes with the package.
  const own = ["ws", "@nats-io/transport-node"].map((name) => {
    return `${name}@${manifest.dependencies[name]}`;
  });
  const quiet = ["--prefer-offline", "--no-audit", "--no-fund"];
  const install = ["install", ...quiet, `./${tarball.filename}`, ...own];
  await scratch.run("npm", install, { deadlineMs: npmDeadlineMs });
}

test("holds what runs, and neither tests nor anything of this checkout's own", () => {
  const doors = Object.values(manifest.exports).map((file) => file.replace(/^\.\//, ""));
  const others = ["dist/src/main/node.js", "dist/actors/edge.js", "dist/topology/plan.js"];
  for (const file of [...doors, ...others, "nats.conf", "LICENSE", "NOTICE"]) {
    assert.ok(packed.includes(file), `${file} is packed`);
  }
  assert.deepEqual(
    packed.filter((path) => /^(dist\/(test|bench)|test|src|\.)|\.tsbuildinfo$/.test(path)),
    [],
  );
});

test("belfry/actor runs a counter that takes tells and answers an ask", async () => {
  assert.equal(await runExample("package-actor"), "{ ok: true, value: 42 }\n");
});

test("belfry/service pushes, and belfry/client receives it and ends when it is closed", async () => {
  const device = scratch.start(process.execPath, [await example("package-client")], {
    env: { BELFRY_URL: platform.node("a").edgeUrl, BELFRY_TOKEN: await platform.token("alice") },
  });
  await device.says(/^attached$/m);
  const answer = await runExample("package-service", ["alice"], {
    env: {
      NATS_URL: platform.nats.url,
      NATS_PASSWORD: platform.nats.credentials.app(app).pass,
    },
  });
  const id = /^\{ ok: true, id: '(\w+)', seq: 1 \}$/m.exec(answer)?.[1];
  assert.ok(id !== undefined && decodeMsgId(id) !== undefined, answer);
  await device.says(/^received \{"text":"hello"\}$/m);
  device.child.kill("SIGINT");
  assert.equal(await device.ends(), 0, device.told());
  assert.equal(device.err, "");
});

test("belfry --version tells the package's version", async () => {
  const said = await scratch.run("npx", ["--no-install", "belfry", "--version"]);
  assert.equal(said.trim(), manifest.version);
});

test("has types that a strict TypeScript program compiles with", async () => {
  await writeFile(
    join(scratch.folder, "uses.ts"),
    `import { Actor, type ActorKind, type AskResult, createSystem } from "belfry/actor";
     import { createDevice, type Device } from "belfry/client";
     import { createSharedDevice } from "belfry/client/tabs";
     import { wsSocket } from "belfry/client/ws";
     import { serveNotifications } from "belfry/service-worker";
     import { systemClock, systemRandom } from "belfry/clock";
     import { createService, type Receipt, type Service } from "belfry/service";

     const kind = {
       name: "quiet",
       mailbox: { max: 1, onFull: "reject" },
       restart: "temporary",
     } as const satisfies ActorKind;
     class Quiet extends Actor<string> {
       get kind(): ActorKind {
         return kind;
       }
       receive(message: string): void {
         this.tell(this.ref, message.length);
       }
     }
     const names = { nodeId: "a", incarnation: "1" };
     const system = createSystem({ ...names, clock: systemClock, random: systemRandom });
     const ref = system.spawnRoot("quiet", () => new Quiet());
     export const asked: Promise<AskResult<number>> = system.ask<number>(ref, "?", 1_000);
     // @ts-expect-error: without a clock there is no system
     createSystem({ ...names, random: systemRandom });
     // @ts-expect-error: a device needs a token
     export const device: Device = createDevice({ url: "ws://x", onMessage: () => {} });
     // @ts-expect-error: tabs share by a name
     createSharedDevice({ url: "ws://x", getToken: async () => "", onMessage: () => {} });
     export const stop = (device: Device) => device.on("state", ({ name }) => name.length);
     export { serveNotifications, wsSocket };
     export const push = (service: Service) => service.push("alice", { body: 1, qos: 0 });
     export const pushMany = async (service: Service) => {
       const [answer] = await service.pushMany([{ uid: "alice", push: { body: 1 } }]);
       const key: string | undefined = answer?.key;
       const laned = await service.lane("high").push("alice", { body: key });
       service.receipts(({ kind, id }: Receipt) => console.log(kind, id)).unsubscribe();
       return laned.ok ? laned.stream : laned.code;
     };
     export { createService };
    `,
  );
  const tsc = join(root, "node_modules", "typescript", "bin", "tsc");
  const strict = ["--strict", "--noEmit", "--module", "nodenext", "--target", "es2022"];
  await scratch.run(process.execPath, [tsc, ...strict, "--lib", "es2023,dom", "uses.ts"]);
});

test("has types of the client that a program for Node compiles with, which knows no browser", async () => {
  await writeFile(
    join(scratch.folder, "in-node.ts"),
    `import { WebSocket } from "ws";
     import { createDevice } from "belfry/client";
     import { wsSocket } from "belfry/client/ws";
     const getToken = async () => "";
     const onMessage = () => {};
     createDevice({ url: "ws://x", socket: wsSocket(WebSocket), getToken, onMessage });
     createDevice({ dispatcher: "https://x", fetch, getToken, onMessage });
    `,
  );
  const tsc = join(root, "node_modules", "typescript", "bin", "tsc");
  const strict = ["--strict", "--noEmit", "--module", "nodenext", "--target", "es2022"];
  const roots = ["--typeRoots", join(root, "node_modules", "@types"), "--types", "node,ws"];
  const only = ["--lib", "es2023", ...roots, "in-node.ts"];
  await scratch.run(process.execPath, [tsc, ...strict, ...only]);
});

async function runExample(
  name: string,
  args: readonly string[] = [],
  options: ProgramOptions = {},
): Promise<string> {
  return scratch.run(process.execPath, [await example(name), ...args], options);
}

/** The example's copy in the empty folder, so that it resolves what is installed there. */
async function example(name: string): Promise<string> {
  const copy = join(scratch.folder, `${name}.mjs`);
  await copyFile(join(root, "examples", `${name}.mjs`), copy);
  return copy;
}
