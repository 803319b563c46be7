/** The SDK in a real Chromium, before an edge that the test plays frame by frame. */
import { deepEqual, equal, ok } from "node:assert/strict";
import { after, afterEach, before, beforeEach, describe, test } from "node:test";
import { isDeepStrictEqual } from "node:util";
import type { CDPSession, Page } from "playwright-core";
import { clientKinds, serverKinds } from "../../src/protocol/frames.js";
import { Browser } from "../support/browser.js";
import { BrowserEdge } from "../support/browser-edge.js";
import { until } from "../support/until.js";

let browser: Browser;
let edge: BrowserEdge;

before(async () => {
  browser = await Browser.startAsUsed();
});

after(async () => {
  await browser?.[Symbol.asyncDispose]();
});

// Another port is another origin: nothing stored is shared between tests.
beforeEach(async () => {
  edge = await BrowserEdge.start();
});

afterEach(async () => {
  await browser.context.setOffline(false);
  for (const page of browser.context.pages()) await page.close();
  await edge[Symbol.asyncDispose]();
});

async function openTab(): Promise<Page> {
  const page = await browser.open(edge.pageUrl);
  await page.waitForFunction("window.isReady");
  return page;
}

/** Opens a tab and makes its device. */
async function begin(options: Record<string, unknown> = {}): Promise<Page> {
  const page = await openTab();
  await page.evaluate(beginIn, options);
  await until("it is attached", async () => (await stateOf(page)) === "attached");
  return page;
}

function beginIn(options: Record<string, unknown>): void {
  (globalThis as unknown as { begin(options: unknown): void }).begin(options);
}

const logOf = (page: Page) => page.evaluate("log") as Promise<[string, unknown][]>;
const stateOf = (page: Page) => page.evaluate("device.state.name") as Promise<string>;

/** What the app of this tab was given, over its reloads. */
async function shownIn(page: Page, kind = "message"): Promise<unknown[]> {
  return (await logOf(page)).filter(([name]) => name === kind).map(([, value]) => value);
}

async function untilShown(page: Page, ...expected: unknown[]): Promise<void> {
  await until(`${expected.length} messages are with the app`, async () => {
    return (await shownIn(page)).length >= expected.length;
  });
  deepEqual(await shownIn(page), expected);
}

const untilAcked = (seq: number) => until(`${seq} is acknowledged`, () => edge.ackedSeq === seq);

/** Another tab is in front: this one is hidden, as a person would have it. */
async function hide(page: Page): Promise<Page> {
  const other = await browser.context.newPage();
  await other.bringToFront();
  await page.waitForFunction('document.visibilityState === "hidden"', null, { polling: 50 });
  return other;
}

async function setFrozen(session: CDPSession, isFrozen: boolean): Promise<void> {
  await session.send("Page.setWebLifecycleState", { state: isFrozen ? "frozen" : "active" });
}

describe("a page that is offline", () => {
  test("notices at once, and has all of it, once and in order, when it is online again", async () => {
    const page = await begin();
    edge.push("one");
    await untilShown(page, "one");
    await browser.context.setOffline(true);
    await until("the page knows", async () => (await stateOf(page)) !== "attached");
    for (const body of ["two", "three"]) edge.push(body);
    await browser.context.setOffline(false);
    await untilShown(page, "one", "two", "three");
    await untilAcked(3);
    equal(edge.peer.hello.position !== undefined, true, "it resumed");
  });
});

describe("a page that is reloaded", () => {
  test("in the middle of a burst shows each message once, and in order", async () => {
    const page = await begin();
    const bodies = Array.from({ length: 300 }, (_, at) => at);
    for (const body of bodies.slice(0, 200)) edge.push(body);
    await until("some are shown", async () => (await shownIn(page)).length > 20);
    const reloading = page.reload();
    for (const body of bodies.slice(200)) edge.push(body);
    await reloading;
    await page.waitForFunction("window.isReady");
    await page.evaluate(beginIn, {});
    await untilShown(page, ...bodies);
    await untilAcked(300);
    const [first, last] = [edge.peers[0], edge.peers.at(-1)];
    equal(last?.hello.device, first?.hello.device);
    ok(Number(last?.hello.connect) > Number(first?.hello.connect));
  });

  test("in a new generation shows nothing twice", async () => {
    const page = await begin();
    edge.push("one");
    await untilShown(page, "one");
    await untilAcked(1);
    edge.generation = 7;
    edge.ackedSeq = 0;
    await page.reload();
    await page.waitForFunction("window.isReady");
    edge.push("two");
    await page.evaluate(beginIn, {});
    await untilShown(page, "one", "two");
    await untilAcked(2);
  });
});

describe("a page in the background", () => {
  const tells = () => edge.peer.ofKind(clientKinds.tell).map((frame) => frame[1]);

  test("says so to the edge, goes on receiving, and acknowledges what it took", async () => {
    const page = await begin();
    equal(edge.peer.hello.app, "front");
    await hide(page);
    await until("the edge was told", () => tells().length === 1);
    deepEqual(tells(), [{ app: "background" }]);
    edge.push("one");
    await untilShown(page, "one");
    await untilAcked(1);
    await page.bringToFront();
    await until("the edge was told", () => tells().length === 2);
    deepEqual(tells()[1], { app: "front" });
  });

  test("answers heartbeats: its timers are throttled, its message handler is not", async () => {
    const page = await begin();
    await hide(page);
    for (let nonce = 1; nonce <= 3; nonce++) edge.peer.send([serverKinds.ping, nonce]);
    const pongs = () => edge.peer.ofKind(clientKinds.pong).map((frame) => frame[1]);
    await until("they are answered", () => pongs().length === 3);
    deepEqual(pongs(), [1, 2, 3]);
  });
});

describe("the kind × app-state table", () => {
  async function withWorker(): Promise<Page> {
    const page = await openTab();
    await browser.context.grantPermissions(["notifications"], {
      origin: new URL(edge.pageUrl).origin,
    });
    await page.evaluate(async () => {
      await navigator.serviceWorker.register("/worker.js", { type: "module" });
      await navigator.serviceWorker.ready;
      // What pops up and is taken away at once has popped up.
      const { prototype } = ServiceWorkerRegistration;
      const { showNotification } = prototype;
      prototype.showNotification = function (title, options) {
        (globalThis as unknown as { log: unknown[] }).log.push(["popup", title]);
        return showNotification.call(this, title, options);
      };
    });
    await page.evaluate(beginIn, {});
    await until("it is attached", async () => (await stateOf(page)) === "attached");
    return page;
  }

  /** Not while one is being displayed: Chromium would forget it (worker-display.ts). */
  const displayed = (page: Page) =>
    page.evaluate(async () => {
      const registration = await navigator.serviceWorker.getRegistration();
      return ((await registration?.getNotifications()) ?? []).map(({ title }) => title);
    });

  test("notification in front: data to the app, nothing pops up", async () => {
    const page = await withWorker();
    edge.notify("N1");
    await untilShown(page, "N1");
    await untilAcked(1);
    deepEqual(await shownIn(page, "popup"), []);
  });

  test("transparent in front and in the background: data to the app", async () => {
    const page = await withWorker();
    edge.push("T1");
    await untilShown(page, "T1");
    await hide(page);
    edge.push("T2");
    await untilShown(page, "T1", "T2");
    deepEqual(await shownIn(page, "popup"), []);
  });

  test("notification in the background: the system shows it; data when the app comes to the front", async () => {
    const page = await withWorker();
    await hide(page);
    edge.notify("N1");
    edge.push("T2");
    edge.notify("N3");
    await untilShown(page, "T2");
    await untilAcked(3);
    deepEqual((await displayed(page)).sort(), ["N1", "N3"]);
    deepEqual(await shownIn(page, "popup"), ["N1", "N3"]);
    await page.bringToFront();
    await untilShown(page, "T2", "N1", "N3");
    await until("they leave the display", async () => (await displayed(page)).length === 0);
    deepEqual(await shownIn(page, "tap"), []);
  });

  test("notification in the background: data on a tap, which the service worker hands on", async () => {
    const page = await withWorker();
    await hide(page);
    edge.notify("N1");
    await untilAcked(1);
    await until("it is displayed", async () => (await displayed(page)).length === 1);
    await page.evaluate(async () => {
      const registration = await navigator.serviceWorker.ready;
      registration.active?.postMessage({ click: "N1" });
    });
    await untilShown(page, "N1");
    await until("the app hears of it", async () => (await shownIn(page, "tap")).length === 1);
    deepEqual(await shownIn(page, "tap"), ["N1"]);
    await until("it left the display", async () => (await displayed(page)).length === 0);
  });

  test("notification in the background: a tap with no page is told to the next one", async () => {
    const page = await withWorker();
    await hide(page);
    edge.notify("N9");
    await untilAcked(1);
    await until("it is displayed", async () => (await displayed(page)).length === 1);
    const worker = browser.context
      .serviceWorkers()
      .find((one) => one.url().startsWith(new URL(edge.pageUrl).origin));
    ok(worker !== undefined);
    await page.close();
    await worker.evaluate(() =>
      globalThis.dispatchEvent(new MessageEvent("message", { data: { click: "N9" } })),
    );
    await until("the worker has noted it", () =>
      worker.evaluate(async () => {
        const cache = await caches.open("belfry-taps");
        return (await cache.keys()).length === 1;
      }),
    );
    const next = await begin();
    await untilShown(next, "N9");
    await until("the app hears of it", async () => (await shownIn(next, "tap")).length === 1);
    deepEqual(await shownIn(next, "tap"), ["N9"]);
    await until("it left the display", async () => (await displayed(next)).length === 0);
  });

  test("notification in the background: data outlasts the page", async () => {
    const page = await withWorker();
    await hide(page);
    edge.notify("N7");
    await untilAcked(1);
    await until("it is displayed", async () => (await displayed(page)).length === 1);
    await page.close();
    const again = await begin();
    await untilShown(again, "N7");
    await until("it left the display", async () => (await displayed(again)).length === 0);
  });

  test("notification in the background that nobody allowed: data to the app", async () => {
    const page = await begin();
    await hide(page);
    edge.notify("N1");
    await untilShown(page, "N1");
    await untilAcked(1);
  });
});

describe("two tabs", () => {
  const share = "alice";

  test("have one connection, and both get what it brings", async () => {
    const first = await begin({ share });
    const second = await begin({ share });
    equal(edge.peers.length, 1);
    edge.push("one");
    await untilShown(first, "one");
    await untilShown(second, "one");
    await untilAcked(1);
  });

  test("go on when the connected one is closed, with nothing lost and nothing twice", async () => {
    const first = await begin({ share });
    const second = await begin({ share });
    edge.push("one");
    await untilShown(second, "one");
    await untilAcked(1);
    await first.close();
    edge.push("two");
    await untilShown(second, "one", "two");
    await untilAcked(2);
    // A socket of its own: its close may be told later.
    await until("the closed one's connection is gone", () => edge.open === 1);
    equal(edge.peer.hello.device, edge.peers[0]?.hello.device);
    deepEqual(edge.peer.hello.position, [1, 1]);
  });

  test("go on when the connected one is frozen, and it comes back as one of them", async () => {
    const first = await begin({ share });
    const second = await begin({ share });
    await second.bringToFront();
    const session = await browser.context.newCDPSession(first);
    await setFrozen(session, true);
    await until("the other has connected", () => edge.peers.length === 2);
    await until("it is attached", async () => (await stateOf(second)) === "attached");
    edge.push("one");
    await untilShown(second, "one");
    await setFrozen(session, false);
    await first.bringToFront();
    await until("it hears of the connection", async () => (await stateOf(first)) === "attached");
    edge.push("two");
    await untilShown(second, "one", "two");
    await until("the first has it too", async () => (await shownIn(first)).includes("two"));
    equal(edge.peers.length, 2);
    await until("one connection is left", () => edge.open === 1);
  });

  // Whoever came to the front after a quiet while took the connection over.
  test("leave the connection where it is when one comes to the front after a while", async () => {
    const first = await begin({ share });
    const second = await begin({ share });
    await hide(second);
    const lastTold = () => edge.peers[0]?.ofKind(clientKinds.tell).at(-1)?.[1];
    await until("nobody looks", () => isDeepStrictEqual(lastTold(), { app: "background" }));
    await second.clock.install();
    await second.clock.fastForward(120_000);
    await second.bringToFront();
    await until("somebody looks", () => isDeepStrictEqual(lastTold(), { app: "front" }));
    edge.push("one");
    await untilShown(first, "one");
    await untilShown(second, "one");
    equal(edge.peers.length, 1);
  });

  test("of which one is in front are an app in front", async () => {
    const first = await begin({ share });
    const second = await begin({ share });
    await second.bringToFront();
    await first.waitForFunction('document.visibilityState === "hidden"', null, { polling: 50 });
    edge.notify("N1");
    await untilShown(second, "N1");
    equal(edge.peer.hello.app, "front");
  });

  test("call a service by the one that is connected", async () => {
    await begin({ share });
    const second = await begin({ share });
    const call = second.evaluate('device.call("orders", { a: 1 })');
    const calls = () => edge.peer.ofKind(clientKinds.call);
    await until("the call is at the edge", () => calls().length === 1);
    const [, session, number, route, , body] = calls()[0] ?? [];
    deepEqual([route, body], ["orders", { a: 1 }]);
    edge.peer.send([serverKinds.answer, session, number, null, { ok: 7 }]);
    deepEqual(await call, { ok: 7 });
  });
});

describe("an edge that leads its clients", () => {
  test("has one come back elsewhere within the window, once", async () => {
    const page = await begin();
    edge.push("one");
    await untilShown(page, "one");
    const edges = [{ url: edge.url, idc: "b" }];
    edge.peer.send([serverKinds.directive, { do: "reconnect", spreadMs: 100, edges }]);
    await until(
      "it came back",
      () => edge.peers.length === 2 && edge.peers[1]?.isAttached === true,
    );
    await until("the first one has ended", () => edge.peers[0]?.closeCode !== undefined);
    equal(edge.peers[0]?.closeCode, 3008);
    edge.push("two");
    await untilShown(page, "one", "two");
    equal(edge.peers.length, 2);
  });

  test("has one wait as long as it says", async () => {
    const page = await begin();
    edge.peer.socket.close(4005, "busy retryAfterMs=60000");
    await until("it waits", async () => (await stateOf(page)) === "waiting");
    ok(Number(await page.evaluate("device.state.retryInMs")) >= 60_000);
  });

  test("by its dispatcher is found, and turns clients away", async () => {
    edge.dispatch = { edges: [], letIn: 0, retryAfterMs: 60_000 };
    const page = await openTab();
    const dispatcher = `${edge.pageUrl}edges`;
    await page.evaluate(beginIn, { dispatcher, urls: [] });
    await until("it waits", async () => (await stateOf(page)) === "waiting");
    equal(edge.peers.length, 0);
    edge.dispatch = { edges: [{ url: edge.url, idc: "a" }], letIn: 1, ttlMs: 60_000 };
    await page.reload();
    await page.waitForFunction("window.isReady");
    await page.evaluate(beginIn, { dispatcher, urls: [], storagePrefix: "other." });
    await until("it is attached", async () => (await stateOf(page)) === "attached");
  });
});
