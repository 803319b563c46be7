/** Where a device goes: orders of addresses, dispatchers and networks. */
import { deepEqual, equal, match, ok } from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { AddressBook } from "../../src/client/address-book.js";
import { addressAt, rendezvousOrder } from "../../src/client/address-order.js";
import type { DeviceOptions } from "../../src/client/device-client.js";
import type { HttpAnswer, HttpFetch } from "../../src/client/dispatcher.js";
import { edgesMax, readDispatcherAnswer } from "../../src/client/dispatcher-answer.js";
import { type BrowserNetwork, browserNetwork } from "../../src/client/network-source.js";
import { memoryStorage } from "../../src/client/platform.js";
import { serverKinds } from "../../src/protocol/frames.js";
import { connected, type Stage, stage } from "./device-stage.js";
import { FakeSurroundings } from "./fake-surroundings.js";

describe("the order of addresses", () => {
  const edges = [
    { url: "a", idc: "home" },
    { url: "b", idc: "home" },
    { url: "c", idc: "away" },
  ];
  const attempts = (good: string | undefined, count: number) =>
    Array.from({ length: count }, (_, attempt) => addressAt(edges, good, attempt)).join("");

  test("is the list's, and another datacenter comes after two rounds at home", () => {
    equal(attempts(undefined, 10), "ababcabcab");
  });

  test("begins with what was last good", () => {
    equal(attempts("b", 8), "babacbac");
  });

  test("begins with a good one elsewhere, and does not forget where home is", () => {
    equal(attempts("c", 9), "cabcabcab");
  });

  test("reaches every address, whichever was good", () => {
    const url = fc.record({ url: fc.string({ minLength: 1 }), idc: fc.constantFrom("x", "y") });
    fc.assert(
      fc.property(fc.uniqueArray(url, { selector: (one) => one.url, minLength: 1 }), (some) => {
        for (const good of [undefined, ...some.map((one) => one.url)]) {
          const tried = new Set<string | undefined>();
          for (let at = 0; at < some.length * 4 + 4; at++) tried.add(addressAt(some, good, at));
          equal(tried.size, some.length);
        }
      }),
    );
  });

  test("of what came without one is each user's own, and moves few when one is added", () => {
    const urls = ["ws://a", "ws://b", "ws://c", "ws://d"];
    const first = (key: string, of: readonly string[]) => rendezvousOrder(key, of)[0]?.url;
    const users = Array.from({ length: 1_000 }, (_, user) => `user-${user}`);
    for (const url of urls) {
      const share = users.filter((user) => first(user, urls) === url).length;
      ok(share > 200 && share < 300, `${url} is first for ${share} of 1000`);
    }
    const moved = users.filter((user) => first(user, urls) !== first(user, [...urls, "ws://e"]));
    ok(moved.every((user) => first(user, [...urls, "ws://e"]) === "ws://e"));
    deepEqual(rendezvousOrder("x", urls), rendezvousOrder("x", [...urls].reverse()));
  });
});

describe("a dispatcher's answer", () => {
  test("is refused as a whole where it is none", () => {
    const open = { edges: [{ url: "wss://a" }] };
    for (const value of [null, 7, [], {}, { edges: {} }, { edges: [] }, { edges: [{ url: 7 }] }]) {
      equal(readDispatcherAnswer(value, false), undefined, JSON.stringify(value));
    }
    equal(readDispatcherAnswer({ edges: [{ url: "ws://a" }] }, true), undefined);
    equal(readDispatcherAnswer({ edges: [{ url: "javascript:1" }] }, false), undefined);
    deepEqual(readDispatcherAnswer(open, true)?.edges, [{ url: "wss://a" }]);
  });

  test("may name nobody where nobody is to come", () => {
    const read = readDispatcherAnswer({ edges: [], letIn: 0 }, true);
    deepEqual([read?.letIn, read?.retryAfterMs], [0, 10_000]);
  });

  test("never throws, and is bounded, whatever it says", () => {
    fc.assert(
      fc.property(fc.jsonValue(), fc.array(fc.webUrl()), (value, urls) => {
        readDispatcherAnswer(value, true);
        const edges = urls.map((url) => ({ url: url.replace(/^https?/, "wss") }));
        const many = [...edges, ...Array(100).fill({ url: "wss://x", idc: "x".repeat(99) })];
        const read = readDispatcherAnswer({ edges: many, ttlMs: 1e300 }, true);
        ok(read !== undefined && read.edges.length <= edgesMax && read.ttlMs <= 86_400_000);
      }),
    );
  });
});

interface Dispatched extends Stage {
  readonly asked: string[];
  answer: unknown;
  refusal: { status: number; retryAfter?: string } | undefined;
}

const edgesOf = (...urls: string[]) => urls.map((url) => ({ url, idc: "a" }));

async function dispatched(
  answer: unknown,
  given: Partial<DeviceOptions> = {},
): Promise<Dispatched> {
  const asked: string[] = [];
  const fetch: HttpFetch = async (url) => {
    asked.push(url);
    return httpAnswer(made);
  };
  const dispatcher = "http://dispatcher/edges";
  const made: Dispatched = Object.assign(stage({ fetch, dispatcher, urls: [], ...given }), {
    asked,
    answer,
    refusal: undefined,
  });
  made.device.connect();
  await made.clock.settle();
  return made;
}

function httpAnswer({
  answer,
  refusal,
}: Pick<Dispatched, "answer"> & Partial<Dispatched>): HttpAnswer {
  return {
    ok: refusal === undefined,
    status: refusal?.status ?? 200,
    headers: { get: (name) => (name === "retry-after" ? (refusal?.retryAfter ?? null) : null) },
    text: async () => JSON.stringify(answer),
  };
}

const urlsOf = ({ edge }: Stage) => edge.sockets.map(({ url }) => url).join(" ");

describe("a device with a dispatcher", () => {
  test("asks for whom, and takes the answer's edges in their order", async () => {
    const made = await dispatched({ edges: edgesOf("ws://a", "ws://b"), ttlMs: 60_000 });
    const [question] = made.asked.map((url) => new URL(url).searchParams);
    match(question?.get("key") ?? "", /^[0-9a-f]{16}$/);
    equal(question?.get("attempt"), "0");
    made.edge.socket.drop();
    await made.clock.advanceAndSettle(1_000);
    equal(urlsOf(made), "ws://a ws://b");
    equal(made.asked.length, 1, "the answer still holds");
    made.device.close();
  });

  test("asks again when all failed, and when the answer is too old", async () => {
    const made = await dispatched({ edges: edgesOf("ws://a"), ttlMs: 60_000 });
    made.answer = { edges: edgesOf("ws://b"), ttlMs: 60_000 };
    made.edge.socket.drop();
    await made.clock.advanceAndSettle(1_000);
    equal(urlsOf(made), "ws://a ws://b");
    equal(new URL(made.asked[1] ?? "").searchParams.get("attempt"), "1");
    made.edge.socket.accept();
    made.answer = { edges: edgesOf("ws://c"), ttlMs: 60_000 };
    await made.clock.advanceAndSettle(20_000);
    made.edge.socket.drop();
    await made.clock.advanceAndSettle(1_000);
    equal(made.asked.length, 2);
    made.edge.socket.accept();
    for (let tick = 0; tick < 3; tick++) {
      await made.clock.advanceAndSettle(20_000);
      made.edge.socket.reply([20, tick]);
    }
    made.edge.socket.drop();
    await made.clock.advanceAndSettle(1_000);
    equal(urlsOf(made), "ws://a ws://b ws://b ws://c");
    made.device.close();
  });

  test("goes on with what it knows while the dispatcher cannot be asked", async () => {
    const storage = memoryStorage();
    const first = await dispatched({ edges: edgesOf("ws://a", "ws://b"), ttlMs: 1 }, { storage });
    first.edge.socket.drop();
    await first.clock.advanceAndSettle(1_000);
    first.edge.socket.accept();
    first.device.close();
    const dead: HttpFetch = () => new Promise(() => {});
    const second = await dispatched(undefined, { storage, fetch: dead, clock: first.clock });
    equal(second.edge.sockets.length, 0);
    await second.clock.advanceAndSettle(5_000);
    equal(urlsOf(second), "ws://b", "what was last good");
    deepEqual(
      second.errors.map(({ code }) => code),
      ["DISPATCHER"],
    );
    second.device.close();
  });

  test("asked with TLS is not believed without", async () => {
    const answer = { edges: edgesOf("wss://evil"), ttlMs: 60_000 };
    const fetch: HttpFetch = async () => ({ ...httpAnswer({ answer }), url: "http://proxy/edges" });
    const given = { fetch, dispatcher: "HTTPS://dispatcher/edges", urls: ["wss://own"] };
    const made = await dispatched(answer, given);
    equal(urlsOf(made), "wss://own");
    equal(made.errors[0]?.code, "DISPATCHER");
    made.device.close();
  });

  test("is read to its bound and no further, and let go", async () => {
    let read = 0;
    let signal: AbortSignal | undefined;
    const body = {
      getReader: () => ({
        read: async () => {
          read += 1;
          // Or the test would never end.
          return { done: read > 10_000, value: new Uint8Array(1_024).fill(0x20) };
        },
      }),
    };
    const fetch: HttpFetch = async (_url, init) => {
      ({ signal } = init);
      return { ...httpAnswer({ answer: {} }), body };
    };
    const made = await dispatched(undefined, { fetch, urls: ["ws://own"] });
    equal(urlsOf(made), "ws://own");
    ok(read <= 65, `${read} KB`);
    equal(signal?.aborted, true);
    made.device.close();
  });

  test("falls back on the app's own addresses", async () => {
    const fetch: HttpFetch = () => Promise.reject(new Error("no route"));
    const made = await dispatched(undefined, { fetch, urls: ["ws://own"] });
    equal(urlsOf(made), "ws://own");
    made.device.close();
  });

  test("keeps away as long as a dispatcher that refuses says", async () => {
    const made = await dispatched(undefined, { urls: ["ws://own"], fetch: refusing("12") });
    equal(made.device.state.name, "waiting");
    await made.clock.advanceAndSettle(11_999);
    equal(made.edge.sockets.length, 0);
    made.device.close();
  });

  test("is let in by the share that the dispatcher says, and asks before it tries again", async () => {
    const closed = { edges: edgesOf("ws://a"), ttlMs: 3_600_000, letIn: 0.5, retryAfterMs: 4_000 };
    const made = await dispatched(closed);
    const { state } = made.device;
    equal(state.name === "waiting" && state.retryInMs, 6_000);
    equal(made.edge.sockets.length, 0);
    made.answer = { ...closed, letIn: 0.51 };
    await made.clock.advanceAndSettle(6_000);
    equal(made.asked.length, 2);
    equal(urlsOf(made), "ws://a");
    made.device.close();
  });

  test("goes where an edge moves it to, though the dispatcher may not know of it yet", async () => {
    const made = await dispatched({ edges: edgesOf("ws://a"), ttlMs: 1 });
    made.edge.socket.accept();
    await made.clock.advanceAndSettle(10);
    const edges = edgesOf("ws://b");
    made.edge.socket.reply([serverKinds.directive, { do: "reconnect", edges }]);
    await made.clock.advanceAndSettle(10);
    equal(urlsOf(made), "ws://a ws://b");
    equal(made.asked.length, 1);
    made.device.close();
  });

  // It went on for ever where an edge had sent it, when it had no dispatcher.
  test("comes back to the app's own addresses when all that it was told of fails", async () => {
    const made = await connected({ urls: ["ws://own"] });
    const edges = [{ url: "ws://gone", idc: "a" }];
    made.edge.socket.reply([serverKinds.directive, { do: "reconnect", edges }]);
    for (let at = 0; at < 4; at++) {
      await made.clock.advanceAndSettle(30_000);
      if (made.edge.socket.readyState === 0) made.edge.socket.drop();
    }
    match(urlsOf(made), /^ws:..own ws:..gone ws:..gone ws:..own/);
    made.device.close();
  });

  test("takes its backoff", async () => {
    const backoff = { baseMs: 8_000, capMs: 10_000 };
    const made = await dispatched({ edges: edgesOf("ws://a", "ws://b"), ttlMs: 60_000, backoff });
    made.edge.socket.drop();
    const { state } = made.device;
    equal(state.name === "waiting" && state.retryInMs, 4_000);
    made.device.close();
  });
});

function refusing(retryAfter: string): HttpFetch {
  return async () => ({
    ok: false,
    status: 503,
    headers: { get: (name) => (name === "retry-after" ? retryAfter : null) },
    text: async () => "",
  });
}

describe("a device and its network", () => {
  test("remembers addresses for each type of network", async () => {
    const around = new FakeSurroundings("wifi");
    const { network } = around;
    const made = await dispatched({ edges: edgesOf("ws://w"), ttlMs: 3_600_000 }, { network });
    made.edge.socket.accept();
    made.answer = { edges: edgesOf("ws://c"), ttlMs: 3_600_000 };
    around.become({ network: "cellular" });
    await made.clock.advanceAndSettle(1_000);
    made.edge.socket.accept();
    around.become({ network: "wifi" });
    await made.clock.advanceAndSettle(6_000);
    equal(urlsOf(made), "ws://w ws://c ws://w");
    equal(made.asked.length, 2);
    made.device.close();
    equal(around.listeners.size, 0);
  });

  test("leaves a connection whose network is gone, and comes back with the network", async () => {
    const around = new FakeSurroundings("unknown");
    const { network } = around;
    const made = await connected({ network, backoff: { baseMs: 1_000_000, capMs: 1_000_000 } });
    around.become({ network: "none" });
    equal(made.edge.socket.closedWith, 3007);
    equal(made.device.state.name, "waiting");
    around.become({ network: "unknown" });
    const { state } = made.device;
    equal(state.name === "waiting" && state.retryInMs, 500_000);
    made.device.close();
  });

  test("is hurried by a network that flaps once in five seconds, and never past a hint", async () => {
    const around = new FakeSurroundings("none");
    const { network } = around;
    const made = await connected({ network });
    made.edge.socket.drop(4007);
    for (let flap = 0; flap < 10; flap++) {
      around.become({ network: "wifi" });
      around.become({ network: "none" });
    }
    await made.clock.advanceAndSettle(4_999);
    equal(made.edge.sockets.length, 1);
    const hurries = made.states.filter(({ name }) => name === "waiting");
    equal(hurries.length, 2);
    made.device.close();
  });
});

test("a browser's network is what its window says", () => {
  const window = Object.assign(new EventTarget(), {
    navigator: {
      onLine: true,
      connection: Object.assign(new EventTarget(), { type: "cellular" }),
    },
  });
  const network = browserNetwork(window as unknown as BrowserNetwork);
  let changes = 0;
  const cancel = network.onChange(() => changes++);
  equal(network.current(), "cellular");
  window.navigator.connection.type = "bluetooth";
  window.navigator.connection.dispatchEvent(new Event("change"));
  equal(network.current(), "unknown");
  window.navigator.onLine = false;
  window.dispatchEvent(new Event("offline"));
  equal(network.current(), "none");
  equal(changes, 2);
  cancel();
  window.dispatchEvent(new Event("online"));
  window.navigator.connection.dispatchEvent(new Event("change"));
  equal(changes, 2);
});

test("an address book forgets another user's addresses, and what it cannot read", async () => {
  const storage = memoryStorage();
  const open = async (): Promise<AddressBook> => {
    const made = new AddressBook(storage, "p.", ["ws://own"], false, () => {});
    await made.load();
    return made;
  };
  const book = await open();
  book.signIn("alice");
  const answer = {
    edges: [{ url: "ws://a" }],
    ttlMs: 1_000,
    backoff: {},
    letIn: 1,
    retryAfterMs: 0,
  };
  book.note("wifi", answer, 0);
  const again = await open();
  again.signIn("alice");
  equal(again.wantsAnswer("wifi", 500), false);
  equal(again.wantsAnswer("wifi", 1_000), true);
  equal(again.wantsAnswer("wifi", -1), true, "the clock was set back");
  equal(again.next("wifi", "d"), "ws://a");
  again.signIn("bob");
  equal(again.next("wifi", "d"), "ws://own");
  await storage.set("p.addresses", '{"v":1,"wifi":{"edges":"x"},"cellular":7}');
  equal((await open()).next("wifi", "d"), "ws://own");
  await storage.set("p.addresses", "{");
  equal((await open()).next("wifi", "d"), "ws://own");
});
