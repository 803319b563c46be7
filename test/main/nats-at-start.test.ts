/**
 * What a node and `make run` say of the NATS server that they are given: one clear
 * sentence, soon, where it is missing or does not fit; and that one of others is used.
 */
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
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
/** It tried for 10 s before; this is a process's start on a busy machine. */
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

describe("NATS at the start", () => {
  for (const [what, program, urlName] of starts) {
    test(`${what} says at once that nothing listens`, async () => {
      await using scratch = await Scratch.create("no-nats");
      const started = launch(scratch, program, { [urlName]: nowhere });
      assert.equal(await started.ends(soonMs), 1);
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
