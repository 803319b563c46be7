/**
 * A client that loads and never acknowledges: it comes again and again, and is sent a
 * window each time. What waits for it is bounded, in the store by the inbox and in memory
 * by the window, reloads end, and an operator sees it.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { defaultLimits } from "../../actors/limits.js";
import { memoryOf } from "../../bench/harness/process-usage.js";
import { EdgeSockets } from "../support/edge-sockets.js";
import { runOperatorCommand as belfry } from "../support/operator-command.js";
import { type Platform, startPlatform } from "../support/platform.js";
import { until } from "../support/until.js";

const { inboxMessagesMax, windowMessagesMax } = defaultLimits;
const loads = 50;
const requestsAtOnce = 500;
const never = { messagesMax: Number.MAX_SAFE_INTEGER, delayMs: 3_600_000 };

/** The code of the first push that was refused. */
async function pushUntilRefused(platform: Platform): Promise<string> {
  for (let sent = 0; sent <= 2 * inboxMessagesMax; sent += requestsAtOnce) {
    const push = (_: unknown, at: number) =>
      platform.push("alice", { body: `message ${sent + at}` }, 20_000);
    const answers = await Promise.all(Array.from({ length: requestsAtOnce }, push));
    for (const answer of answers) {
      // One user's rate, or a busy machine's store: the next ones find room again.
      if (answer.ok || (answer.retryable && answer.code !== "INBOX_FULL")) continue;
      assert.equal(answer.retryable, true);
      return answer.code;
    }
    // As long as the refusal says: one user's pushes have a rate.
    const limited = answers.find((answer) => !answer.ok);
    if (limited !== undefined && !limited.ok) await delay(Math.max(limited.retryAfterMs ?? 0, 400));
  }
  return "none";
}

test("a client that loads and never acks costs a window of memory and its inbox", async (t) => {
  // Each load is an attempt, so that they are used up within a test.
  const environment = { BELFRY_ATTEMPT_SPACING_MS: "0" };
  await using platform = await startPlatform({ nodes: ["a"], environment });
  assert.equal(await pushUntilRefused(platform), "INBOX_FULL");
  const shown: string[] = [];
  const sockets = new EdgeSockets(platform, ["a"]);
  // Each load is a new client: one that says where it stands has acknowledged.
  const load = () =>
    platform.device("alice", {
      device: "forgetful",
      acks: never,
      urls: sockets.urls,
      socket: sockets.socketOf("forgetful"),
      onMessage: ({ id }) => void shown.push(id),
    });
  let device = load();
  await until("a window has come", () => shown.length >= windowMessagesMax);
  const { pid } = platform.node("a");
  const before = memoryOf(pid).rssBytes;
  for (let count = 0; count < loads; count++) {
    // So has one that says goodbye.
    sockets.cut("forgetful");
    device.close();
    device = load();
    await until("it is served", () => device.state.name === "attached");
  }
  const grown = (memoryOf(pid).rssBytes - before) / 1024 / 1024;
  t.diagnostic(
    `${loads} loads without an ack: ${shown.length} shown, ${grown.toFixed(1)} MiB more`,
  );
  // Two rounds of windows, then one message for each connection.
  assert.ok(shown.length <= 4 * windowMessagesMax + loads, `${shown.length} were sent`);
  const { document } = await belfry(platform, "inbox", "ls", "demo", "alice");
  assert.ok(document.messages <= inboxMessagesMax);
  const [forgetful] = document.devices;
  assert.equal(document.devices.length, 1);
  assert.deepEqual([forgetful.id, forgetful.stalled], ["forgetful", true]);
});
