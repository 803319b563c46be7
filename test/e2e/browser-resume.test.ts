/** The SDK in a real Chromium on a real platform: reloads, and tabs that take over. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import type { Page } from "playwright-core";
import { Browser } from "../support/browser.js";
import { type Platform, startPlatform } from "../support/platform.js";
import { until } from "../support/until.js";

let platform: Platform;
let browser: Browser;

before(async () => {
  [platform, browser] = await Promise.all([
    startPlatform({ environment: { BELFRY_DEMO: "true" } }),
    Browser.startAsUsed(),
  ]);
});

after(async () => {
  await browser?.[Symbol.asyncDispose]();
  await platform?.[Symbol.asyncDispose]();
});

interface Tab {
  readonly page: Page;
  /** What this tab's app was given, over its reloads. */
  readonly shown: () => Promise<number[]>;
}

/** A page of the node's, with a device that shares its connection with other tabs'. */
async function openTab(user: string, node = "a"): Promise<Tab> {
  const { httpUrl } = platform.node(node);
  const page = await browser.open(`${httpUrl.replace("127.0.0.1", "localhost")}/demo/`);
  await connect(page, user);
  const shown = () => page.evaluate(() => JSON.parse(sessionStorage.getItem("shown") ?? "[]"));
  return { page, shown };
}

async function connect(page: Page, user: string): Promise<void> {
  const edges = ["a", "b"].map((name) => platform.node(name).edgeUrl);
  await page.evaluate(beginIn, { user, edges });
  await page.waitForFunction('device.state.name === "attached"', null, { polling: 50 });
}

/** Runs in the page. */
async function beginIn({ user, edges }: { user: string; edges: string[] }): Promise<void> {
  const sdk = "/modules/client/shared-device.js";
  const { createSharedDevice } = (await import(
    sdk
  )) as typeof import("../../src/client/shared-device.js");
  const shown: unknown[] = JSON.parse(sessionStorage.getItem("shown") ?? "[]");
  const device = createSharedDevice({
    share: user,
    urls: edges,
    start: "all",
    getToken: async () => {
      const response = await fetch("/demo/token", {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ user }),
      });
      return (await response.json()).token;
    },
    onMessage: ({ body }) => {
      shown.push(body);
      sessionStorage.setItem("shown", JSON.stringify(shown));
    },
  });
  Object.assign(globalThis, { device });
  device.connect();
}

async function push(user: string, bodies: readonly number[]): Promise<void> {
  for (const body of bodies) assert.equal((await platform.push(user, { body })).ok, true);
}

const numbers = (from: number, to: number) =>
  Array.from({ length: to - from }, (_, at) => from + at);

test("a reload in the middle of a burst shows each message once, and in order", async () => {
  const { page, shown } = await openTab("dora");
  const pushing = push("dora", numbers(0, 100));
  await until("some are shown", async () => (await shown()).length > 10);
  await page.reload();
  await connect(page, "dora");
  await pushing;
  await until("all are shown", async () => (await shown()).length >= 100);
  assert.deepEqual(await shown(), numbers(0, 100));
  await page.close();
});

test("tabs hand the connection on under pushes: each shows each message once, and in order", async () => {
  const first = await openTab("emil");
  const second = await openTab("emil");
  const third = await openTab("emil");
  const pushing = push("emil", numbers(0, 150));
  await until("some are shown", async () => (await second.shown()).length > 10);
  await first.page.close();
  await until("more are shown", async () => (await third.shown()).length > 60);
  await second.page.close();
  await pushing;
  await until("all are shown", async () => (await third.shown()).length >= 150);
  assert.deepEqual(await third.shown(), numbers(0, 150));
  await third.page.close();
});

test("a node that is killed is left for another, with nothing lost and nothing twice", async () => {
  const { page, shown } = await openTab("frida");
  await push("frida", numbers(0, 20));
  await until("all are shown", async () => (await shown()).length >= 20);
  await platform.killNode("b");
  for (const body of numbers(20, 40)) {
    // Refused while nobody owns the shard; the key makes repeating it safe.
    await until(`${body} is accepted`, async () => {
      return (await platform.tryPush("frida", { body, id: `key-${body}` }))?.ok === true;
    });
  }
  await until("all are shown", async () => (await shown()).length >= 40, 60_000);
  assert.deepEqual(await shown(), numbers(0, 40));
  await page.close();
});
