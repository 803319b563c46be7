/**
 * Limits on the real parts: an operator sets them while the nodes run, one app is held to
 * its own and the other notices nothing, and what was refused is seen afterwards.
 */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import type { Device } from "../../src/client/device-client.js";
import { NatsBus } from "../../src/drivers/nats-bus.js";
import { packValue, unpackValue } from "../../src/protocol/codec.js";
import type { PushAnswer } from "../../src/protocol/push-answer.js";
import { pushUserSubject } from "../../src/protocol/subjects.js";
import { app, type Platform, startPlatform } from "../support/platform.js";
import { until } from "../support/until.js";

/** This file runs as dist/test/e2e/admission.test.js. */
const program = fileURLToPath(new URL("../../src/main/belfry.js", import.meta.url));
const limited = "limited";

// biome-ignore lint/suspicious/noExplicitAny: a test reads whatever is in it.
async function belfry(platform: Platform, ...args: string[]): Promise<any> {
  const { user, pass } = platform.nats.credentials.user("operator-test");
  const passwordFile = join(platform.folder, "operator.password");
  await writeFile(passwordFile, pass, { mode: 0o600 });
  const access = ["--nats-url", platform.nats.url, "--user", user, "--timeout", "60"];
  const all = [program, ...args, "--json", ...access, "--password-file", passwordFile];
  return new Promise((resolve, reject) => {
    execFile(process.execPath, all, (error, out) => {
      if (error === null) resolve(JSON.parse(out));
      else reject(new Error(`belfry ${args.join(" ")}: ${out}`));
    });
  });
}

async function pushTo(platform: Platform, name: string, uid: string): Promise<PushAnswer> {
  const bus = new NatsBus(platform.operator);
  const bytes = packValue({ body: uid });
  return unpackValue(await bus.request(pushUserSubject(name, uid), bytes, 20_000)) as PushAnswer;
}

/** The nodes follow the registry: the limit holds a moment after it was set. */
async function untilHeld(platform: Platform, uid: string): Promise<void> {
  await until("the nodes hold the limit", async () => {
    const answer = await pushTo(platform, limited, uid);
    return !answer.ok && answer.code === "RATE_LIMITED";
  });
}

test("holds one app to its rate while every push of another passes", async () => {
  await using platform = await startPlatform();
  await platform.registerApp({ app: limited });
  await until("the nodes know it", async () => (await pushTo(platform, limited, "u0")).ok);
  await belfry(platform, "app", "set", limited, "--pushes-per-second", "0");
  await untilHeld(platform, "u0");
  await belfry(platform, "app", "set", limited, "--pushes-per-second", "20");
  await until("the nodes follow", async () => (await pushTo(platform, limited, "u0")).ok);
  const startedMs = performance.now();
  const pushes = (name: string) =>
    Array.from({ length: 400 }, (_, at) => pushTo(platform, name, `u${at}`));
  const [held, free] = await Promise.all([Promise.all(pushes(limited)), Promise.all(pushes(app))]);
  const seconds = (performance.now() - startedMs) / 1_000;
  assert.ok(free.every(({ ok }) => ok));
  const refused = held.flatMap((answer) => (answer.ok ? [] : [answer]));
  // A second's worth may come at once.
  const most = 20 * (1 + seconds) + 2;
  assert.ok(held.length - refused.length <= most, `${held.length - refused.length} of ${most}`);
  assert.ok(held.length > refused.length, "some pass");
  for (const answer of refused) {
    assert.deepEqual([answer.code, answer.retryable], ["RATE_LIMITED", true]);
    assert.ok((answer.retryAfterMs ?? 0) > 0);
  }
  const { usage, nodes } = await belfry(platform, "app", "usage", limited);
  assert.equal(nodes.length, 2);
  assert.ok(usage.refused.RATE_LIMITED >= refused.length);
  await until("what is stored is measured", async () => {
    const now = (await belfry(platform, "app", "usage", app)).usage;
    return now.inboxMessages >= 400 && now.inboxBytes > 0;
  });
  const status = await belfry(platform, "status");
  assert.ok(status.nodes.some((node: { refused: number }) => node.refused > 0));
});

test("closes connections above an app's quota with a code to come back, and takes them later", async () => {
  await using platform = await startPlatform({ nodes: ["a"] });
  await platform.registerApp({ app: limited, limits: { connections: 2 } });
  const ends: string[] = [];
  const deviceOf = (uid: string): Device =>
    platform.device(uid, {
      getToken: () => platform.token(uid, { app: limited }),
      onMessage: () => undefined,
      onError: (error) => void ends.push(error.message),
    });
  const attached = (devices: readonly Device[]) =>
    devices.filter(({ state }) => state.name === "attached").length;
  const [first, second] = [deviceOf("u1"), deviceOf("u2")];
  await until("two are there", () => attached([first, second]) === 2);
  const third = deviceOf("u3");
  await until("the third is refused", () => ends.some((end) => end.includes("4007")));
  assert.equal(attached([first, second]), 2);
  const others = platform.device("u4", { onMessage: () => undefined });
  await until("another app's device is there", () => others.state.name === "attached");
  const { usage } = await belfry(platform, "app", "usage", limited);
  assert.equal(usage.connections, 2);
  assert.ok(usage.refusedConnections > 0);
  first.close();
  await until("the third is let in", () => third.state.name === "attached");
});
