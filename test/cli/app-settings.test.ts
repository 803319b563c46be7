/** `app set` and `app usage`: what they write, keep, sum and refuse. */
import { deepEqual, equal, match, ok } from "node:assert/strict";
import { describe, test } from "node:test";
import { decodeAppRecord } from "../../src/protocol/app-record.js";
import { eventsOf } from "../../src/protocol/app-settings.js";
import { demo, type FakeFleet, fleetWithDemo } from "./fake-fleet.js";
import { runCli } from "./run-cli.js";

const stored = (fleet: FakeFleet) => {
  const bytes = fleet.registry.entries.get("demo")?.value ?? new Uint8Array();
  return JSON.parse(new TextDecoder().decode(bytes));
};

const set = (fleet: FakeFleet, ...flags: string[]) =>
  runCli(fleet, ["app", "set", "demo", ...flags, "--json"]);

describe("app set", () => {
  test("writes each setting, and prints what stands now", async () => {
    const fleet = await fleetWithDemo();
    const { document } = await set(
      fleet,
      ...["--pushes-per-second", "500", "--pushes-per-second-per-user", "5"],
      ...["--connections", "1000", "--inbox-bytes", "1000000", "--inbox-messages", "50"],
      ...["--on-full", "drop-oldest", "--receipts", "stored,acked", "--presence", "on"],
      ...["--delivery", "first-ack"],
    );
    const limits = {
      pushesPerSecond: 500,
      pushesPerSecondPerUser: 5,
      connections: 1_000,
      inboxBytes: 1_000_000,
      inboxMessages: 50,
      onFull: "drop-oldest",
    };
    const events = { receipts: ["stored", "acked"], presence: true };
    deepEqual(document, { app: "demo", delivery: "first-ack", limits, events, connectUrl: null });
    deepEqual(stored(fleet), { ...demo, delivery: "first-ack", limits, events });
    const { out } = await runCli(fleet, ["app", "show", "demo"]);
    match(out, /^pushes\/s +500$/m);
    match(out, /^receipts +stored, acked$/m);
    ok(!out.includes(demo.secrets[0]?.secret as string));
  });

  test("leaves what it does not name, and what it does not know", async () => {
    const fleet = await fleetWithDemo();
    const newer = { ...demo, later: 1, limits: { connections: 7, later: 2 }, events: { later: 3 } };
    const bytes = new TextEncoder().encode(JSON.stringify(newer));
    await fleet.registry.update("demo", bytes, 1);
    await set(fleet, "--pushes-per-second", "9");
    deepEqual(stored(fleet), { ...newer, limits: { ...newer.limits, pushesPerSecond: 9 } });
    await set(fleet, "--pushes-per-second", "none", "--receipts", "all");
    deepEqual(stored(fleet), { ...newer, events: { later: 3, receipts: true } });
    await runCli(fleet, ["app", "rotate-secret", "demo"]);
    equal(stored(fleet).later, 1);
  });

  test("names a webhook, keeps it, shows it and takes it away", async () => {
    const fleet = await fleetWithDemo();
    const url = "https://shop.example/connect?of=belfry";
    equal((await set(fleet, "--connect-url", url)).document.connectUrl, url);
    await set(fleet, "--presence", "on");
    deepEqual(stored(fleet).connect, { url });
    match(
      (await runCli(fleet, ["app", "show", "demo"])).out,
      /^connect URL +https:\/\/shop\.example/m,
    );
    equal((await set(fleet, "--connect-url", "none")).document.connectUrl, null);
    ok(!("connect" in stored(fleet)));
  });

  test("refuses values that make no sense, and to set nothing", async () => {
    for (const flags of [
      ["--pushes-per-second", "-1"],
      ["--pushes-per-second", "1.5"],
      ["--pushes-per-second", "99999999999"],
      ["--receipts", "stored,everything"],
      ["--presence", "maybe"],
      ["--on-full", "panic"],
      ["--connect-url", "shop.example"],
      ["--connect-url", "ftp://shop.example/"],
      ["--connect-url", "https://me:secret@shop.example/"],
      ["--connect-url", `https://shop.example/${"x".repeat(2_048)}`],
      [],
    ]) {
      const fleet = await fleetWithDemo();
      equal((await set(fleet, ...flags)).exitCode, 2, flags.join(" "));
      deepEqual(stored(fleet), demo);
    }
  });

  test("is refused when somebody else was faster", async () => {
    const fleet = await fleetWithDemo();
    const get = fleet.registry.get.bind(fleet.registry);
    fleet.registry.get = async (key) => {
      const entry = await get(key);
      return entry && { ...entry, revision: entry.revision - 1 };
    };
    const run = await set(fleet, "--presence", "on");
    deepEqual([run.exitCode, run.document.code], [1, "CONFLICT"]);
    deepEqual(stored(fleet), demo);
  });
});

describe("an app's record", () => {
  const read = (changes: object) =>
    decodeAppRecord(new TextEncoder().encode(JSON.stringify({ ...demo, ...changes })));

  test("counts a limit or an event setting that does not read as absent", () => {
    const limits = { pushesPerSecond: "many", connections: -1, inboxBytes: 5, onFull: "panic" };
    deepEqual(read({ limits })?.limits, { inboxBytes: 5 });
    deepEqual(read({ limits: 7 })?.limits, {});
    const record = read({ events: { receipts: 3, presence: "yes" } });
    deepEqual(record && eventsOf(record), { receipts: false, presence: false });
  });

  test("of an earlier version has the defaults", () => {
    deepEqual(eventsOf(demo), { receipts: false, presence: false });
    equal(read({})?.limits, undefined);
  });
});

describe("app usage", () => {
  test("sums what the nodes report, refusals by reason", async () => {
    const fleet = await fleetWithDemo();
    await set(fleet, "--connections", "100");
    const { document, exitCode } = await runCli(fleet, ["app", "usage", "demo", "--json"]);
    equal(exitCode, 0);
    deepEqual(document.usage, {
      connections: 5,
      refusedConnections: 3,
      acceptedPerSecond: 25,
      refusedPerSecond: 0.5,
      accepted: 2_000,
      inboxBytes: 4_096,
      inboxMessages: 8,
      users: 4,
      refused: { RATE_LIMITED: 7, OVERLOADED: 1 },
    });
    equal(document.limits.connections, 100);
    deepEqual(fleet.asked, [
      { kind: "usage", app: "demo" },
      { kind: "usage", app: "demo" },
    ]);
    const { out } = await runCli(fleet, ["app", "usage", "demo"]);
    match(out, /^connections +5 +100$/m);
    match(out, /^refused RATE_LIMITED +7/m);
  });

  test("goes on without a node that is silent, and says so when all are", async () => {
    const fleet = await fleetWithDemo();
    fleet.silent.add("dc1-a");
    const { document, exitCode } = await runCli(fleet, ["app", "usage", "demo", "--json"]);
    deepEqual([exitCode, document.nodes[0].state, document.usage.accepted], [0, "silent", 1_000]);
    fleet.silent.add("dc1-b");
    equal((await runCli(fleet, ["app", "usage", "demo"])).exitCode, 3);
  });
});
