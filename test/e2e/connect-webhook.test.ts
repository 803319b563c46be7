/**
 * An app whose webhook says who may connect, on real nodes: who is let in and who is not,
 * what becomes of its clients while nobody answers, and of another app's meanwhile.
 */
import assert from "node:assert/strict";
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import { after, before, describe, test } from "node:test";
import type { Device, DeviceError, DeviceOptions } from "../../src/client/device-client.js";
import { NatsBus } from "../../src/drivers/nats-bus.js";
import { packValue, unpackValue } from "../../src/protocol/codec.js";
import { pushUserSubject } from "../../src/protocol/subjects.js";
import { makeCertificate } from "../support/certificate.js";
import { FakeWebhook, says } from "../support/fake-webhook.js";
import type { NatsFixture } from "../support/nats-server.js";
import { runOperatorCommand } from "../support/operator-command.js";
import { type Platform, startPlatform } from "../support/platform.js";
import { until } from "../support/until.js";

const nowSeconds = () => Math.floor(Date.now() / 1_000);

interface Client {
  readonly device: Device;
  readonly shown: unknown[];
  readonly errors: DeviceError[];
}

describe("clients whose app has a connect webhook", () => {
  let platform: Platform<NatsFixture>;
  const webhooks = new Map<string, FakeWebhook>();

  before(async () => {
    platform = await startPlatform({ nodes: ["a", "b"] });
    for (const app of ["shop", "stuck", "quick"]) {
      const webhook = await FakeWebhook.start();
      webhooks.set(app, webhook);
      await platform.registerApp({ app });
      await point(app, webhook.url);
    }
  });
  after(async () => {
    await platform?.[Symbol.asyncDispose]();
    for (const webhook of webhooks.values()) await webhook[Symbol.asyncDispose]();
  });

  async function point(app: string, url: string): Promise<void> {
    const said = await runOperatorCommand(platform, "app", "set", app, "--connect-url", url);
    assert.equal(said.document.connectUrl, url);
  }

  function webhookOf(app: string): FakeWebhook {
    const webhook = webhooks.get(app);
    assert.ok(webhook !== undefined);
    return webhook;
  }

  /** The token is the user's name; the webhook says whose it is. */
  function connect(app: string, token: string, options: Partial<DeviceOptions> = {}): Client {
    const shown: unknown[] = [];
    const errors: DeviceError[] = [];
    const device = platform.device(token, {
      app,
      getToken: async () => token,
      onMessage: ({ body }) => void shown.push(body),
      onError: (error) => void errors.push(error),
      ...options,
    });
    return { device, shown, errors };
  }

  const byToken: FakeWebhook["answer"] = (response, { body }) =>
    says({ sub: body["token"] })(response);

  const isAttached = ({ device }: Client) => device.state.name === "attached";

  async function push(app: string, uid: string, body: unknown): Promise<void> {
    const command = packValue({ body });
    await until(`${uid} is pushed to`, async () => {
      const bus = new NatsBus(platform.operator);
      const answer = await bus
        .request(pushUserSubject(app, uid), command, 5_000)
        .catch(() => undefined);
      return answer !== undefined && (unpackValue(answer) as { ok: boolean }).ok;
    });
  }

  test("are let in as whom it names, are pushed to, and refused for good where it says so", async () => {
    const shop = webhookOf("shop");
    shop.answer = (response, { body }) =>
      body["token"] === "session 17" ? says({ sub: "alice" })(response) : says("", 403)(response);
    const alice = connect("shop", "session 17", { device: "phone", platform: "ios" });
    await until("she is attached", () => isAttached(alice));
    const { state } = alice.device;
    assert.ok(state.name === "attached");
    assert.deepEqual([state.app, state.uid, state.device], ["shop", "alice", "phone"]);
    await push("shop", "alice", "hello");
    await until("it is shown", () => alice.shown.includes("hello"));
    assert.deepEqual(shop.requests[0]?.body, {
      ...{ v: 1, app: "shop", token: "session 17", device: "phone", platform: "ios" },
      address: "127.0.0.1",
    });
    const mallory = connect("shop", "session 18");
    await until("she is stopped", () => mallory.device.state.name === "stopped");
    const stopped = mallory.device.state;
    assert.ok(stopped.name === "stopped");
    assert.equal(stopped.code, 4504);
    alice.device.close();
  });

  test("stay by a fresh token, asked for again until somebody can vouch for it", async () => {
    const shop = webhookOf("shop");
    const nobodyKnows = says("", 500);
    shop.answer = (response, request) =>
      request.body["token"] === "first"
        ? // Within the time at which a fresh one is asked for: at once.
          says({ sub: "bob", exp: nowSeconds() + 45 })(response)
        : nobodyKnows(response);
    const tokens = ["first"];
    const states: string[] = [];
    const bob = connect("shop", "bob", {
      getToken: async () => tokens.at(-1) ?? "",
      onState: ({ name }) => {
        states.push(name);
        if (name === "attached") tokens.push("second");
      },
    });
    const asked = (token: string) =>
      shop.requests.filter(({ body }) => body["token"] === token).length;
    await until("he is attached", () => isAttached(bob));
    const statesSoFar = states.length;
    await until("nobody could vouch for it, twice", () => asked("second") >= 2);
    assert.ok(bob.errors.some(({ message }) => message.startsWith("AUTH_UNAVAILABLE")));
    tokens.push("third");
    shop.answer = says({ sub: "bob" });
    await until("it is vouched for", () => asked("third") > 0);
    await push("shop", "bob", "still here");
    await until("it is shown", () => bob.shown.includes("still here"));
    assert.deepEqual(states.slice(statesSoFar), [], "he never left");
    bob.device.close();
  });

  test("come back by themselves when it does, and another app's are let in meanwhile", async () => {
    const shop = webhookOf("shop");
    shop.answer = byToken;
    const clients = Array.from({ length: 20 }, (_, index) => connect("shop", `user${index}`));
    await until("all are attached", () => clients.every(isAttached));
    const { port } = shop;
    await shop.stop();
    const late = Array.from({ length: 20 }, (_, index) => connect("shop", `late${index}`));
    await until("the webhook is left alone", async () => (await circuits("shop")).includes("open"));
    assert.ok(clients.every(isAttached), "who is connected stays");
    assert.ok(!late.some(isAttached));
    webhookOf("quick").answer = byToken;
    const others = Array.from({ length: 20 }, (_, index) => connect("quick", `other${index}`));
    const signed = platform.device("carol", { onMessage: () => undefined });
    await until("another webhook's are in", () => others.every(isAttached));
    await until("a signed token's too", () => signed.state.name === "attached");
    assert.ok(!late.some(isAttached));
    const codes = late.flatMap(({ errors }) => errors.map(({ message }) => message));
    assert.ok(codes.some((message) => message.includes("4008 AUTH_UNAVAILABLE")));
    await shop.listen(port);
    await until("all who came late are in", () => late.every(isAttached), 120_000);
    await push("shop", "late7", "at last");
    await until("it is shown", () => late[7]?.shown.includes("at last"));
    for (const { device } of [...clients, ...late, ...others]) device.close();
    signed.close();
  });

  /** Of the nodes' circuits for this app. */
  async function circuits(app: string): Promise<string[]> {
    const inside = await Promise.all(
      ["a", "b"].map((node) => runOperatorCommand(platform, "actor", `dc1-${node}/edge`)),
    );
    return inside.map(({ document }) => findKey(document, "webhooks")?.[app]?.circuit);
  }

  test("hold up nobody of another app while it hangs", async (context) => {
    const stuck = webhookOf("stuck");
    webhookOf("quick").answer = byToken;
    const edge = [platform.node("a").edgeUrl];
    let count = 0;
    const connectMs = async (): Promise<number> => {
      const fromMs = performance.now();
      const client = connect("quick", `quick${count++}`, { urls: edge });
      await new Promise<void>((resolve) =>
        client.device.on("state", () => isAttached(client) && resolve()),
      );
      const tookMs = performance.now() - fromMs;
      client.device.close();
      return tookMs;
    };
    const block = async (): Promise<number[]> => {
      const took: number[] = [];
      for (let index = 0; index < 15; index++) took.push(await connectMs());
      return took;
    };
    const calm: number[] = [];
    const beside: number[] = [];
    await block();
    for (let round = 0; round < 4; round++) {
      calm.push(...(await block()));
      const held: (() => void)[] = [];
      stuck.answer = (response, request) => void held.push(() => byToken(response, request));
      const hanging = Array.from({ length: 60 }, (_, index) =>
        connect("stuck", `stuck${round}-${index}`, { urls: edge }),
      );
      await until("all hang", () => held.length >= 60 || undefined);
      beside.push(...(await block()));
      stuck.answer = byToken;
      for (const answer of held) answer();
      await until("they are in after all", () => hanging.every(isAttached), 60_000);
      for (const { device } of hanging) device.close();
    }
    const [calmMs, besideMs] = [median(calm), median(beside)];
    const ratio = besideMs / calmMs;
    context.diagnostic(
      `connect of another app, median: ${calmMs.toFixed(1)} ms, beside 60 that hang ${besideMs.toFixed(1)} ms, ratio ${ratio.toFixed(2)}`,
    );
    assert.ok(ratio < 4, `${ratio}`);
  });

  test("are asked about over TLS, and only where its certificate is trusted", async () => {
    const { certFile, cert, key } = await makeCertificate(platform.folder, "webhook");
    let asked = 0;
    const server = createServer({ cert, key }, (request, response) => {
      asked++;
      request.resume().on("end", () => says({ sub: "tess" })(response));
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    try {
      const { port } = server.address() as AddressInfo;
      await point("shop", `https://127.0.0.1:${port}/`);
      const trusting = await platform.startNode("c", { NODE_EXTRA_CA_CERTS: certFile });
      const client = connect("shop", "tess", { urls: [trusting.edgeUrl] });
      await until("she is attached", () => isAttached(client));
      const askedSoFar = asked;
      assert.ok(askedSoFar > 0);
      const elsewhere = connect("shop", "tess", { urls: [platform.node("a").edgeUrl] });
      await until("nobody could be asked", () =>
        elsewhere.errors.some(({ message }) => message.includes("AUTH_UNAVAILABLE")),
      );
      assert.equal(asked, askedSoFar);
      client.device.close();
      elsewhere.device.close();
    } finally {
      server.closeAllConnections();
      server.close();
    }
  });
});

function median(values: readonly number[]): number {
  const sorted = [...values].sort((one, other) => one - other);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
}

// biome-ignore lint/suspicious/noExplicitAny: a test reads whatever is in it.
function findKey(value: unknown, wanted: string): any {
  if (typeof value !== "object" || value === null) return undefined;
  for (const [key, inner] of Object.entries(value)) {
    const found = key === wanted ? inner : findKey(inner, wanted);
    if (found !== undefined) return found;
  }
  return undefined;
}
