/** The examples of calls do what they say, with Belfry's SDK for services and without. */
import assert from "node:assert/strict";
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import type { NatsFixture } from "../support/nats-server.js";
import { app, type Platform, startPlatform } from "../support/platform.js";

let platform: Platform<NatsFixture>;

before(async () => {
  platform = await startPlatform({ nodes: ["a"] });
});
after(() => platform[Symbol.asyncDispose]());

/** This file runs as dist/test/e2e/call-examples.test.js. */
const example = (name: string) =>
  fileURLToPath(new URL(`../../../examples/${name}.mjs`, import.meta.url));

async function startService(name: string): Promise<ChildProcess> {
  const { url, credentials } = platform.nats;
  const env = { ...process.env, NATS_URL: url, NATS_PASSWORD: credentials.app(app).pass };
  const service = spawn(process.execPath, [example(name), app], {
    env,
    stdio: ["ignore", "pipe", "inherit"],
  });
  const [line] = await once(createInterface({ input: service.stdout }), "line");
  assert.equal(line, "answering");
  return service;
}

async function call(body: string): Promise<[number, string]> {
  const BELFRY_TOKEN = await platform.token("alice");
  const env = { ...process.env, BELFRY_TOKEN, BELFRY_URL: platform.node("a").edgeUrl };
  return new Promise((resolve) => {
    execFile(process.execPath, [example("call"), "add", body], { env }, (error, out, said) =>
      resolve([Number(error?.code ?? 0), `${out}${said}`.trim()]),
    );
  });
}

for (const name of ["answer-calls", "answer-calls-raw"]) {
  test(`${name} answers call, refuses it, and ends when it is told to`, async () => {
    const service = await startService(name);
    const ended = once(service, "exit");
    assert.deepEqual(await call("[1, 2, 39]"), [0, "42"]);
    assert.deepEqual(await call('"seven"'), [
      1,
      "NO_LIST (refused): a list of numbers can be added",
    ]);
    service.kill("SIGINT");
    assert.deepEqual(await ended, [0, null]);
    const [, said] = await call("[1]");
    assert.match(said, /^NO_SERVICE \(not-done\)/);
  });
}
