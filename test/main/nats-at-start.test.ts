/**
 * What a node and `make run` say of the NATS server that they are given: one clear
 * sentence, soon, where it is missing or does not fit; and that one of others is used.
 */
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { type AddressInfo, createServer } from "node:net";
import { join } from "node:path";
import { describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { findNatsServer } from "../../src/main/setup/private-nats.js";
import { startNats } from "../support/nats-server.js";
import { type Program, Scratch } from "../support/scratch.js";

const programOf = (name: string) =>
  fileURLToPath(new URL(`../../src/main/${name}.js`, import.meta.url));

/** Nobody listens on port 1, and nobody may without being root. */
const nowhere = "nats://127.0.0.1:1";
/** It tried for 10 s before: this long beside what the same start takes that asks no server. */
const soonMs = 5_000;

const starts: readonly (readonly [what: string, program: string, urlName: string])[] = [
  ["a node", "node", "BELFRY_NATS_URL"],
  ["a run", "run", "NATS_URL"],
];

function launch(scratch: Scratch, program: string, env: Readonly<Record<string, string>>): Program {
  const own = { BELFRY_HOME: scratch.folder, BELFRY_DATA_FOLDER: join(scratch.folder, "data") };
  const none = { NATS_URL: undefined, BELFRY_NATS_USER: undefined };
  return scratch.start(process.execPath, ["--enable-source-maps", programOf(program)], {
    env: { ...none, BELFRY_PORT: "0", BELFRY_LOG_LEVEL: "error", ...own, ...env },
  });
}

async function startPlainNats(scratch: Scratch, settings: string): Promise<string> {
  const file = join(scratch.folder, "plain.conf");
  writeFileSync(file, `jetstream { store_dir: "${join(scratch.folder, "js")}" }\n${settings}\n`);
  const args = ["-c", file, "-a", "127.0.0.1", "-p", "-1"];
  const nats = scratch.start(await findNatsServer(), args);
  const [, port] = await nats.says(/Listening for client connections on 127\.0\.0\.1:(\d+)/);
  return `nats://127.0.0.1:${port}`;
}

/** A server whose messages are large enough and that maps pushes, as plain as can be. */
const fitting = `mappings: { "push.*.user.*": "shard.{{partition(4096,1,2)}}.push.{{wildcard(1)}}.{{wildcard(2)}}" }`;

const unfit: readonly (readonly [what: string, settings: string, sentence: RegExp])[] = [
  [
    "a server without JetStream",
    `${fitting}\njetstream: disabled`,
    /^belfry: JetStream is off on this NATS server \(see nats\.conf\)\n$/,
  ],
  [
    "a server that maps no pushes",
    "",
    /^belfry: this NATS server does not map "push\.\*\.user\.\*" to shards; [^\n]+\n$/,
  ],
  [
    "a server that does not know its user",
    `${fitting}\nauthorization: { users: [{ user: "node", password: "right" }] }`,
    /^belfry: no NATS server took us in at nats:\/\/127\.0\.0\.1:\d+ as node: [^\n]*Authorization[^\n]*\n$/i,
  ],
];

describe("NATS at the start", () => {
  for (const [what, settings, sentence] of unfit) {
    test(`a node refuses ${what}`, async () => {
      await using scratch = await Scratch.create("unfit-nats");
      const url = await startPlainNats(scratch, settings);
      const file = join(scratch.folder, "password");
      writeFileSync(file, "wrong\n");
      const user = { BELFRY_NATS_USER: "node", BELFRY_NATS_PASSWORD_FILE: file };
      const started = launch(scratch, "node", { BELFRY_NATS_URL: url, ...user });
      assert.equal(await started.ends(), 1);
      assert.match(started.err, sentence);
    });
  }

  test("a node refuses a server that is too old", async () => {
    await using scratch = await Scratch.create("old-nats");
    const server = createServer((socket) => {
      const info = { server_id: "x", version: "2.9.20", proto: 1, max_payload: 1_048_576 };
      socket.write(`INFO ${JSON.stringify(info)}\r\n`);
      socket.on("data", (data) => data.includes("PING") && socket.write("PONG\r\n"));
      socket.on("error", () => socket.destroy());
    });
    await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
    const { port } = server.address() as AddressInfo;
    const started = launch(scratch, "node", { BELFRY_NATS_URL: `nats://127.0.0.1:${port}` });
    assert.equal(await started.ends(), 1);
    assert.equal(started.err, "belfry: nats-server 2.9.20 is too old: 2.10 or newer is needed\n");
    server.close();
  });

  test("a node names each setting that it cannot take", async () => {
    await using scratch = await Scratch.create("settings");
    const started = launch(scratch, "node", {
      BELFRY_NATS_URL: "nats://127.0.0.1:4222,,",
      BELFRY_KV_REPLICAS: "2",
      BELFRY_LEASE_MS: "10",
    });
    assert.equal(await started.ends(), 2);
    assert.match(started.err, /natsUrl \(BELFRY_NATS_URL\): is NATS servers, with commas between/);
    assert.match(started.err, /kvReplicas \(BELFRY_KV_REPLICAS\): is 1, 3 or 5/);
    assert.match(started.err, /leaseMs \(BELFRY_LEASE_MS\): /);
  });

  test("a node refuses more replicas than a single server can hold", async () => {
    await using nats = await startNats();
    await using scratch = await Scratch.create("replicas");
    const { user, pass, inboxPrefix } = nats.credentials.node;
    const file = join(scratch.folder, "password");
    writeFileSync(file, `${pass}\n`);
    const started = launch(scratch, "node", {
      BELFRY_NATS_URL: nats.url,
      BELFRY_NATS_USER: user,
      BELFRY_NATS_PASSWORD_FILE: file,
      BELFRY_NATS_INBOX_PREFIX: inboxPrefix,
      BELFRY_KV_REPLICAS: "3",
    });
    assert.equal(await started.ends(), 1);
    const sentence = /^belfry: the bucket placement is held by 0 of 3 wanted servers: [^\n]+\n$/;
    assert.match(started.err, sentence);
  });

  for (const [what, program, urlName] of starts) {
    test(`${what} says at once that nothing listens`, async () => {
      await using scratch = await Scratch.create("no-nats");
      const sinceMs = performance.now();
      const file = join(scratch.folder, "nothing-here");
      const unread = { [urlName]: nowhere, BELFRY_NATS_PASSWORD_FILE: file };
      await launch(scratch, program, unread).ends();
      const startMs = performance.now() - sinceMs;
      const started = launch(scratch, program, { [urlName]: nowhere });
      assert.equal(await started.ends(), 1);
      const tookMs = performance.now() - sinceMs - startMs;
      assert.ok(tookMs < 2 * startMs + soonMs, `${tookMs} ms, beside ${startMs} ms`);
      const sentence = /^belfry: no NATS server took us in at nats:\/\/127\.0\.0\.1:1: [^\n]+\n$/;
      assert.match(started.err, sentence);
    });

    // A device's window of 256 KiB is one message: it would never have arrived.
    test(`${what} refuses a server whose messages are too small`, async () => {
      await using scratch = await Scratch.create("small-nats");
      const url = await startPlainNats(scratch, "max_payload: 524287");
      const started = launch(scratch, program, { [urlName]: url });
      assert.equal(await started.ends(), 1);
      const sentence = "this NATS server takes messages of 524287 bytes at most; ";
      const remedy = "set its max_payload to 524288 or more (see nats.conf)";
      assert.equal(started.err, `belfry: ${sentence}${remedy}\n`);
    });

    test(`${what} names the password's file that it cannot read`, async () => {
      await using scratch = await Scratch.create("no-password");
      const file = join(scratch.folder, "nothing-here");
      const started = launch(scratch, program, {
        [urlName]: nowhere,
        BELFRY_NATS_PASSWORD_FILE: file,
      });
      const code = await started.ends();
      assert.ok(code === 1 || code === 2, started.told());
      assert.match(started.err, /^belfry: a secret's file is not readable: [^\n]*nothing-here'\n$/);
    });
  }

  test("a run takes a server of others with its user and the file of its password", async () => {
    await using nats = await startNats({ apps: ["demo"] });
    await using scratch = await Scratch.create("own-nats");
    const { user, pass } = nats.credentials.node;
    const file = join(scratch.folder, "password");
    writeFileSync(file, `${pass}\n`);
    const run = launch(scratch, "run", {
      NATS_URL: nats.url,
      BELFRY_NATS_USER: user,
      BELFRY_NATS_PASSWORD_FILE: file,
    });
    await run.says(/Ctrl-C stops everything/, 60_000);
    run.child.kill("SIGINT");
    assert.equal(await run.ends(40_000), 0, run.told());
  });
});
