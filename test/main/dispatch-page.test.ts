/** `GET /edges` as clients, browsers and caches see it. */
import assert from "node:assert/strict";
import { once } from "node:events";
import type { Server } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, beforeEach, describe, test } from "node:test";
import { type DispatchAnswer, Dispatcher } from "../../actors/dispatcher.js";
import { defaultLimits } from "../../actors/limits.js";
import { PlacementView } from "../../actors/placement-view.js";
import { sendDispatch } from "../../src/main/dispatch-page.js";
import { createHttpServer, hostAndPort } from "../../src/main/http.js";
import { plainPolicy } from "../../topology/edge-policy.js";
import { nodeKey } from "../../topology/node-record.js";
import { VirtualClock } from "../support/virtual-clock.js";

describe("the dispatcher's page", () => {
  let server: Server;
  let view: PlacementView;
  let clock: VirtualClock;

  beforeEach(async () => {
    view = new PlacementView();
    clock = new VirtualClock();
    view.leaseDeadlineMs = clock.monotonicMs() + 1_000_000;
    for (const name of ["a", "b", "c"]) addEdge(name);
    const dispatcher = new Dispatcher({
      ...{ nodeId: "dc1-a", idc: "dc1", view, clock, limits: defaultLimits },
    });
    server = createHttpServer({
      health: () => ({ isHealthy: true, text: "ok" }),
      dispatch: (search, request, response) =>
        sendDispatch(dispatcher, "dc1", search, request, response),
      socketsMax: 100,
    });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
  });

  afterEach(() => {
    server.closeAllConnections();
    server.close();
  });

  function addEdge(name: string): void {
    const nodeId = `dc1-${name}`;
    view.nodes.set(nodeId, {
      ...{ v: 1, nodeId, incarnation: "i", idc: "dc1", pid: 1, processStart: "1" },
      ...{ version: "test", leaseMs: 3_000, startedAtMs: 0 },
      edgeUrl: `ws://[::1]:80${name.charCodeAt(0)}/connect`,
    });
    view.sightings.set(nodeKey(nodeId), { revision: 1, sinceMs: clock.monotonicMs() });
  }

  function ask(query: string, options: RequestInit = {}): Promise<Response> {
    const { port } = server.address() as AddressInfo;
    return fetch(`http://127.0.0.1:${port}/edges${query}`, { redirect: "manual", ...options });
  }

  async function told(query: string): Promise<DispatchAnswer> {
    return (await (await ask(query)).json()) as DispatchAnswer;
  }

  const afterLook = () => clock.advanceAndSettle(1_000);

  test("answers with edges in the client's order, and how to come back", async () => {
    const answer = await told("?key=demo:alice");
    assert.deepEqual(
      { ...answer, edges: answer.edges.length },
      { edges: 3, ttlMs: 300_000, backoff: { baseMs: 500, capMs: 30_000 }, letIn: 1 },
    );
    for (const { url, idc } of answer.edges) {
      assert.equal(new URL(url).hostname, "[::1]");
      assert.equal(idc, "dc1");
    }
    assert.deepEqual(await told("?key=demo:alice&attempt=2&later=x"), answer);
    const orders = new Set<string>();
    for (let at = 0; at < 20; at++) orders.add(JSON.stringify((await told(`?key=${at}`)).edges));
    assert.ok(orders.size > 1, "all clients have the same order");
  });

  test("lets pages of any origin ask", async () => {
    assert.equal((await ask("?key=a")).headers.get("access-control-allow-origin"), "*");
    const preflight = await ask("?key=a", { method: "OPTIONS" });
    assert.equal(preflight.status, 204);
    assert.match(preflight.headers.get("access-control-allow-methods") ?? "", /GET/);
    assert.equal((await ask("?attempt=x")).headers.get("access-control-allow-origin"), "*");
  });

  test("may be kept for a moment, and is not sent again while it is the same", async () => {
    const first = await ask("?key=a");
    assert.match(first.headers.get("cache-control") ?? "", /^public, max-age=\d+/);
    const etag = first.headers.get("etag") ?? "";
    for (const tags of [etag, `"other", W/${etag}`, "*"]) {
      const again = await ask("?key=a", { headers: { "if-none-match": tags } });
      assert.equal(again.status, 304, tags);
      assert.equal(await again.text(), "");
      assert.equal(again.headers.get("etag"), etag);
    }
    view.edgePolicy = { ...plainPolicy, draining: new Map([["dc1-a", 1]]) };
    await afterLook();
    const changed = await ask("?key=a", { headers: { "if-none-match": etag } });
    assert.equal(changed.status, 200);
    assert.equal(((await changed.json()) as DispatchAnswer).edges.length, 2);
  });

  test("spreads those who name no key, and no cache makes one answer theirs", async () => {
    const firsts = new Set<string>();
    for (let at = 0; at < 50; at++) {
      const response = await ask("");
      assert.equal(response.headers.get("cache-control"), "no-store");
      firsts.add(((await response.json()) as DispatchAnswer).edges[0]?.url ?? "");
    }
    assert.equal(firsts.size, 3);
  });

  test("answers HEAD with the head alone, and nothing else at all", async () => {
    const head = await ask("?key=a", { method: "HEAD" });
    assert.equal(head.status, 200);
    assert.ok(Number(head.headers.get("content-length")) > 0);
    const post = await ask("?key=a", { method: "POST", body: "{}" });
    assert.equal(post.status, 405);
    assert.match(post.headers.get("allow") ?? "", /GET/);
  });

  test("refuses what is too long or no number", async () => {
    const bad = [`?key=${"k".repeat(257)}`, "?attempt=-1", "?attempt=1e3", "?attempt=99999999"];
    for (const query of [...bad, "?from=DC%201"]) {
      assert.equal((await ask(query)).status, 400, query);
    }
    assert.equal((await ask(`?key=${"k".repeat(256)}&attempt=1000000`)).status, 200);
  });

  test("says how many are let in, and when the others are to ask again", async () => {
    view.letInPercent = 25;
    const { letIn, retryAfterMs } = await told("?key=a");
    assert.equal(letIn, 0.25);
    assert.ok((retryAfterMs ?? 0) > 0);
  });

  test("says when to ask again where nobody takes clients, and no cache keeps that", async () => {
    view.nodes.clear();
    const response = await ask("?key=a");
    assert.equal(response.status, 503);
    assert.equal(response.headers.get("cache-control"), "no-store");
    assert.ok(Number(response.headers.get("retry-after")) > 0);
    const answer = (await response.json()) as DispatchAnswer;
    assert.deepEqual(answer.edges, []);
    assert.ok((answer.retryAfterMs ?? 0) > 0);
  });

  test("leaves out who has not renewed, but knows nothing better without a lease of its own", async () => {
    await clock.advanceAndSettle(60_000);
    addEdge("d");
    assert.equal((await told("?key=a")).edges.length, 1);
    view.leaseDeadlineMs = 0;
    await afterLook();
    assert.equal((await told("?key=a")).edges.length, 4);
  });

  test("sends clients on while the datacenter is switched away, but never in a circle", async () => {
    const dispatcher = "https://two.example.com:8443/edges?zone=x";
    view.edgePolicy = {
      ...plainPolicy,
      others: [{ idc: "dc2", dispatcher, edges: [] }],
      awayTo: "dc2",
    };
    const sent = await ask("?key=demo%3Aal%26ice&attempt=3");
    assert.equal(sent.status, 307);
    assert.equal(sent.headers.get("access-control-allow-origin"), "*");
    const location = new URL(sent.headers.get("location") ?? "");
    assert.equal(location.origin + location.pathname, "https://two.example.com:8443/edges");
    assert.deepEqual(Object.fromEntries(location.searchParams), {
      ...{ zone: "x", key: "demo:al&ice", attempt: "3", from: "dc1" },
    });
    assert.equal((await ask("?key=a&from=dc2")).status, 200);
  });
});

test("an IPv6 address stands in brackets in a URL", () => {
  assert.equal(hostAndPort("::1", 80), "[::1]:80");
  assert.equal(hostAndPort("127.0.0.1", 80), "127.0.0.1:80");
});
