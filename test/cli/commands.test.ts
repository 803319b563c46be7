/** What each command asks and prints. */
import { deepEqual, equal, match, ok } from "node:assert/strict";
import { describe, test } from "node:test";
import { Fault } from "../../src/base/result.js";
import { decodeAppRecord, encodeAppRecord } from "../../src/protocol/app-record.js";
import { errorAnswer } from "../../src/protocol/errors.js";
import type { InboxAnswer } from "../../src/protocol/inbox-answer.js";
import { shardOf } from "../../src/protocol/shards.js";
import {
  aliceSession,
  demo,
  type FakeFleet,
  fleetWithDemo,
  nodeA,
  nodeB,
  nodeOf,
} from "./fake-fleet.js";
import { runCli } from "./run-cli.js";

describe("push", () => {
  const push = async (fleet: FakeFleet, ...args: string[]) =>
    runCli(fleet, ["push", "demo", "alice", ...args, "--json"]);

  test("sends JSON as what it is, and everything else as a string", async () => {
    const fleet = await fleetWithDemo();
    for (const body of ['{"a":[1]}', "7", "null", "hello there", '{"a":']) await push(fleet, body);
    deepEqual(
      fleet.pushed.map(({ command }) => command),
      [
        { body: { a: [1] } },
        { body: 7 },
        { body: null },
        { body: "hello there" },
        { body: '{"a":' },
      ],
    );
    deepEqual([fleet.pushed[0]?.app, fleet.pushed[0]?.uid], ["demo", "alice"]);
  });

  test("sends every option as the field it is", async () => {
    const fleet = await fleetWithDemo();
    const options = [
      ...["--id", "o-17", "--qos", "0", "--ttl", "60", "--collapse", "c", "--type", "order"],
      ...["--kind", "transparent", "--title", "T", "--text", "B", "--url", "https://x.example"],
      ...["--target-device", "d1", "--priority", "high"],
    ];
    await push(fleet, "hi", ...options);
    deepEqual(fleet.pushed[0]?.command, {
      body: "hi",
      id: "o-17",
      ttl: 60,
      collapse: "c",
      type: "order",
      priority: "high",
      qos: 0,
      kind: "transparent",
      notification: { title: "T", body: "B", url: "https://x.example" },
      target: { device: "d1" },
    });
  });

  test("makes a notification of what has a title", async () => {
    const fleet = await fleetWithDemo();
    await push(fleet, "hi", "--title", "T");
    deepEqual(fleet.pushed[0]?.command, {
      body: "hi",
      kind: "notification",
      notification: { title: "T" },
    });
  });

  test("prints the answer as it came", async () => {
    const fleet = await fleetWithDemo();
    fleet.pushAnswer = { ...(fleet.pushAnswer as object), duplicate: true } as never;
    const run = await push(fleet, "hi");
    deepEqual(run.document, { ok: true, id: "01ARZ3NDEKTSV4RR", seq: 4, duplicate: true });
  });

  test("ends with 1 and the code when it is refused", async () => {
    const fleet = await fleetWithDemo();
    fleet.pushAnswer = errorAnswer("INBOX_FULL");
    const run = await push(fleet, "hi");
    equal(run.exitCode, 1);
    deepEqual(run.document, errorAnswer("INBOX_FULL"));
    const text = await runCli(fleet, ["push", "demo", "alice", "hi"]);
    equal(text.err, "belfry: INBOX_FULL: the user's inbox is at its bound\n");
  });

  test("ends with 3 when nobody serves the user, or not in time", async () => {
    for (const code of ["NO_RESPONDERS", "TIMEOUT"]) {
      const fleet = await fleetWithDemo();
      fleet.pushAnswer = new Fault(code, "unknown", "nobody");
      const run = await push(fleet, "hi");
      equal(run.exitCode, 3);
      deepEqual([run.document.ok, run.document.code], [false, code]);
    }
  });

  test("refuses what the platform would refuse, before it is sent", async () => {
    const cases: readonly (readonly [args: string[], code: string])[] = [
      [["demo", "", "hi"], "BAD_UID"],
      [["demo", "ü".repeat(22), "hi"], "BAD_UID"],
      [["de.mo", "alice", "hi"], "UNKNOWN_APP"],
      [["demo", "alice", "x".repeat(65 * 1024)], "BODY_TOO_LARGE"],
    ];
    for (const [args, code] of cases) {
      const fleet = await fleetWithDemo();
      const run = await runCli(fleet, ["push", ...args, "--json"]);
      deepEqual([run.exitCode, run.document.code], [1, code]);
      equal(fleet.pushed.length, 0);
    }
  });

  test("takes users with dots, spaces and other alphabets", async () => {
    const fleet = await fleetWithDemo();
    for (const uid of ["a.b", "a b", "日本", "*", ">"]) {
      equal((await runCli(fleet, ["push", "demo", uid, "hi"])).exitCode, 0, uid);
    }
  });
});

describe("status", () => {
  test("shows every node with its figures, and who leads", async () => {
    const run = await runCli(await fleetWithDemo(), ["status", "--json"]);
    const { nodes, leader, shards } = run.document;
    equal(leader.nodeId, "dc1-a");
    deepEqual(shards, { serving: 4096, moving: 0, unassigned: 0 });
    const [a, b] = nodes;
    const { report, ...figures } = a;
    deepEqual(figures, {
      ...nodeA,
      uptimeMs: 60_000,
      isLeader: true,
      state: "up",
      isLeaseHeld: true,
      shards: 2048,
      connections: 5,
      sessions: 2,
      commits: 21,
      unpublished: 0,
      lost: 0,
      heldBack: null,
      refused: 3,
      deadLetters: 3,
      crashes: 1,
      restarts: 1,
    });
    equal(report.edge.connections, 5);
    equal(b.isLeader, false);
  });

  test("shows a node that does not answer as silent", async () => {
    const fleet = await fleetWithDemo();
    fleet.silent.add(nodeB.nodeId);
    const run = await runCli(fleet, ["status", "--json"]);
    equal(run.exitCode, 0);
    const [, b] = run.document.nodes;
    deepEqual(
      [b.state, b.reason, b.connections, b.sessions],
      ["silent", "no answer in time", null, null],
    );
    const text = await runCli(fleet, ["status"]);
    match(text.out, /dc1-b\.incb +silent +- +0\.1\.0 +- +- +- +2048/);
    match(text.out, /dc1-a\.inca \* +up +1m0s/);
  });

  test("says what services were not told, and why", async () => {
    const fleet = await fleetWithDemo();
    match((await runCli(fleet, ["status"])).out, /^(?!.*changes)/s);
    const heldBack = "the log is away";
    fleet.groupDetail = { commits: 21, unpublished: 7, lost: 0, heldBack };
    match(
      (await runCli(fleet, ["status"])).out,
      /changes +\d+ unpublished, held back: the log is away/,
    );
    fleet.groupDetail = { commits: 21, unpublished: 7, lost: 3 };
    match((await runCli(fleet, ["status"])).out, /changes +\d+ lost, \d+ unpublished/);
    const { nodes } = (await runCli(fleet, ["status", "--json"])).document;
    deepEqual([nodes[0].unpublished, nodes[0].lost, nodes[0].heldBack], [7, 3, null]);
  });

  test("ends with 3, and still shows the picture, when no node answers", async () => {
    const fleet = await fleetWithDemo();
    fleet.silent.add(nodeA.nodeId).add(nodeB.nodeId);
    const run = await runCli(fleet, ["status", "--json"]);
    equal(run.exitCode, 3);
    equal(run.document.nodes.length, 2);
    fleet.nodes = [];
    equal((await runCli(fleet, ["status"])).exitCode, 3);
  });
});

describe("topology", () => {
  test("groups the nodes by datacenter and sums many children by kind", async () => {
    const fleet = await fleetWithDemo();
    const far = nodeOf("z", "dc0");
    fleet.nodes = [nodeA, nodeB, far];
    fleet.trees["dc0-z"] = fleet.trees["dc1-a"];
    const { document } = await runCli(fleet, ["topology", "--json"]);
    deepEqual(
      document.idcs.map(({ idc, nodes }: never) => [idc, (nodes as unknown[]).length]),
      [
        ["dc0", 1],
        ["dc1", 2],
      ],
    );
    const [, b] = document.idcs[1].nodes;
    deepEqual(b.kinds, {
      membership: 1,
      "shard-host": 1,
      edge: 1,
      "shard-group": 1,
      shard: 512,
      session: 2,
      connection: 1,
    });
    const group = b.tree.children[1].children[0];
    deepEqual(group.children, []);
    deepEqual(group.summaries, [
      {
        kind: "shard",
        count: 512,
        walked: 512,
        mailbox: 512,
        processed: 5120,
        restarts: 0,
        below: [
          {
            kind: "session",
            count: 2,
            walked: 2,
            mailbox: 2,
            processed: 20,
            restarts: 2,
            below: [],
          },
        ],
      },
    ]);
  });

  test("names a restarted actor, however deep it is and however many stand around it", async () => {
    const fleet = await fleetWithDemo();
    const { document } = await runCli(fleet, ["topology", "--json"]);
    const [a, b] = document.idcs[0].nodes;
    deepEqual(a.notable, []);
    const address = "dc1-b.incb/shards/0/7/demo.alice";
    deepEqual(b.notable, [{ address, kind: "session", state: "live", restarts: 2 }]);
    const { out } = await runCli(fleet, ["topology"]);
    match(
      out,
      /! 1 actor of dc1-b\.incb to look at:\n +dc1-b\.incb\/shards\/0\/7\/demo\.alice +session +live, restarted 2 times\n$/,
    );
    match(out, /512 × shard +shard +512 +5120 +0\n.*└─ 2 × session +session +2 +20 +2 !\n/);
  });

  test("paints it red on a terminal", async () => {
    const { out } = await runCli(await fleetWithDemo(), ["topology"], { isTerminal: true });
    ok(out.includes("\u001b[31m2 !\u001b[0m"), out);
  });

  test("marks an actor that is not live", async () => {
    const fleet = await fleetWithDemo();
    fleet.trees["dc1-a"] = {
      ...(fleet.trees["dc1-a"] as object),
      childCounts: { edge: 1 },
      children: [{ key: "edge", kind: "edge", state: "backoff", restarts: 0 }],
    };
    const { out } = await runCli(fleet, ["topology", "--node", "dc1-a"]);
    match(out, /└─ ! edge +edge +backoff/);
    match(out, /dc1-a\.inca\/edge +edge +backoff\n/);
  });

  test("lists one by one what --children allows", async () => {
    const { document } = await runCli(await fleetWithDemo(), [
      ...["topology", "--children", "1000", "--node", "dc1-b", "--json"],
    ]);
    const group = document.idcs[0].nodes[0].tree.children[1].children[0];
    equal(group.children.length, 512);
    equal(group.children[7].children[0].address, "dc1-b.incb/shards/0/7/demo.alice");
    equal(group.children[7].children[0].restarts, 2);
  });

  test("walks no deeper than --depth, and says what lies below by count", async () => {
    const fleet = await fleetWithDemo();
    const { document } = await runCli(fleet, ["topology", "--depth", "2", "--json"]);
    const [a] = document.idcs[0].nodes;
    const group = a.tree.children[1].children[0];
    deepEqual(group.summaries, [
      { kind: "shard", count: 512, walked: 0, mailbox: 0, processed: 0, restarts: 0, below: [] },
    ]);
    equal(a.isAsDeepAsAsked, true);
    ok(fleet.asked.every((request) => request.kind !== "tree" || request.depth <= 2));
    const { out } = await runCli(fleet, ["topology", "--depth", "2"]);
    match(out, /512 × shard +shard +not walked/);
  });

  test("stops above what would not fit into one answer, and says so", async () => {
    const fleet = await fleetWithDemo();
    const shard = { key: 0, kind: "shard", state: "live", childCounts: { session: 90_000 } };
    fleet.trees["dc1-a"] = {
      key: "",
      kind: "root",
      state: "live",
      childCounts: { shard: 20 },
      children: Array.from({ length: 20 }, (_, key) => ({ ...shard, key, children: [] })),
    };
    const run = await runCli(fleet, ["topology", "--node", "dc1-a", "--json"]);
    const [a] = run.document.idcs[0].nodes;
    deepEqual([a.depth, a.isAsDeepAsAsked, a.kinds.session], [2, false, 1_800_000]);
    const { out } = await runCli(fleet, ["topology", "--node", "dc1-a"]);
    match(out, /dc1-a\.inca has too many actors to walk below level 2/);
  });

  test("shows silent nodes, and ends with 3 when all are", async () => {
    const fleet = await fleetWithDemo();
    fleet.silent.add(nodeA.nodeId);
    const text = await runCli(fleet, ["topology"]);
    equal(text.exitCode, 0);
    match(text.out, /├─ dc1-a\.inca \* +node +silent/);
    equal((await runCli(fleet, ["topology", "--node", "dc1-a", "--json"])).exitCode, 3);
  });

  test("survives a report of another version", async () => {
    const fleet = await fleetWithDemo();
    fleet.trees["dc1-a"] = ["what", 7];
    fleet.trees["dc1-b"] = { kind: "root", key: 0, childCounts: 7, children: [7, null, {}] };
    const run = await runCli(fleet, ["topology", "--json"]);
    equal(run.exitCode, 0);
    const [a, b] = run.document.idcs[0].nodes;
    deepEqual([a.state, b.state], ["silent", "up"]);
  });

  test("refuses a node that is not there", async () => {
    const run = await runCli(await fleetWithDemo(), ["topology", "--node", "dc1-q", "--json"]);
    deepEqual([run.exitCode, run.document.code], [1, "NOT_FOUND"]);
  });
});

describe("actor", () => {
  test("asks the node of the address, with or without its incarnation", async () => {
    for (const address of ["dc1-a/edge", "dc1-a.inca/edge"]) {
      const run = await runCli(await fleetWithDemo(), ["actor", address, "--json"]);
      equal(run.document.address, "dc1-a.inca/edge");
    }
  });

  test("refuses an actor, a node and an incarnation that are not there", async () => {
    for (const address of ["dc1-a/nobody", "dc1-q/edge", "dc1-a.gone/edge"]) {
      const run = await runCli(await fleetWithDemo(), ["actor", address, "--json"]);
      deepEqual([run.exitCode, run.document.code], [1, "NOT_FOUND"], address);
    }
  });

  test("ends with 3 when its node is silent", async () => {
    const fleet = await fleetWithDemo();
    fleet.silent.add("dc1-a");
    equal((await runCli(fleet, ["actor", "dc1-a/edge"])).exitCode, 3);
  });
});

describe("user", () => {
  const shard = shardOf("demo", "alice");
  const owner = shard < 2048 ? nodeA : nodeB;
  const show = (fleet: FakeFleet, ...more: string[]) =>
    runCli(fleet, ["user", "demo", "alice", ...more]);

  test("shows the session as its owner does, with its place", async () => {
    const fleet = await fleetWithDemo();
    const run = await show(fleet, "--json");
    deepEqual(run.document, {
      app: "demo",
      uid: "alice",
      shard,
      owner: { nodeId: owner.nodeId, incarnation: owner.incarnation },
      epoch: 1,
      ...aliceSession,
    });
    deepEqual(fleet.asked, [{ kind: "user", app: "demo", uid: "alice" }]);
  });

  test("shows the device, what it acked and an empty inbox, and no escapes of its own", async () => {
    const { out } = await show(await fleetWithDemo());
    match(out, /inbox +empty/);
    match(out, /phone\ufffd\[31m +web +3 +3 +0 +0 +0 +dc1-a\.inca\/edge\/7/);
  });

  test("says that what is stored does not read", async () => {
    const fleet = await fleetWithDemo();
    fleet.userAnswer.unshift({ ok: true, value: { shard: 1, epoch: 1, unread: "STORE_CORRUPT" } });
    match((await show(fleet)).out, /inbox +cannot be read: STORE_CORRUPT/);
  });

  test("asks in the encoded form", async () => {
    const fleet = await fleetWithDemo();
    await runCli(fleet, ["user", "demo", "a.b"]);
    deepEqual(fleet.asked, [{ kind: "user", app: "demo", uid: "a%2Eb" }]);
  });

  test("reads the table again when the shard has moved", async () => {
    const fleet = await fleetWithDemo();
    fleet.userAnswer.unshift(errorAnswer("WRONG_SHARD"));
    equal((await show(fleet)).exitCode, 0);
    equal(fleet.placementsRead, 2);
  });

  test("refuses when nobody owns the shard, and an app that is not registered", async () => {
    const fleet = await fleetWithDemo();
    fleet.shards = fleet.shards.map((place) => ({
      ...place,
      state: "unassigned",
      owner: undefined,
    }));
    const run = await show(fleet, "--json");
    deepEqual([run.exitCode, run.document.code, run.document.retryable], [1, "NOT_READY", true]);
    const unknown = await runCli(await fleetWithDemo(), ["user", "nobody", "alice", "--json"]);
    deepEqual([unknown.exitCode, unknown.document.code], [1, "UNKNOWN_APP"]);
  });

  test("ends with 3 when the owner is silent", async () => {
    const fleet = await fleetWithDemo();
    fleet.silent.add(nodeA.nodeId).add(nodeB.nodeId);
    equal((await show(fleet)).exitCode, 3);
  });
});

describe("inbox", () => {
  const listed = {
    ok: true,
    generation: 1_048_577,
    lastSeq: 9,
    messages: 3,
    bytes: 120,
    entries: [{ id: "0DGZRG3G80100001", seq: 7, bytes: 40, expiresAtMs: 0, type: "chat" }],
    more: true,
    devices: [
      {
        ...{ id: "phone\u001b[31m", platform: "web", acked: 6, unacked: 3, attempts: 5 },
        ...{ setAside: 3, stalled: true, seenAtMs: 0, connected: true },
      },
    ],
    presence: "connected",
  } as const;

  test("lists what waits, who owes an ack, and where to go on", async () => {
    const fleet = await fleetWithDemo();
    fleet.inboxAnswer = listed as unknown as InboxAnswer;
    const { out } = await runCli(fleet, ["inbox", "ls", "demo", "a.b", "--limit", "1"]);
    match(out, /3 messages, 120 bytes; connected/);
    match(out, /7 +0DGZRG3G80100001 +chat +40 +0s/);
    match(out, /more: --after 7/);
    match(out, /phone\ufffd\[31m +web +6 +3 +5 +stalled +yes/);
    const request = { op: "list", after: 0, limit: 1 };
    deepEqual(fleet.inboxAsked, [{ app: "demo", uid: "a.b", request }]);
    const run = await runCli(fleet, ["inbox", "ls", "demo", "alice", "--json"]);
    deepEqual(run.document, listed);
  });

  test("recalls by id or by key, and by one of them alone", async () => {
    const fleet = await fleetWithDemo();
    const recall = (...more: string[]) =>
      runCli(fleet, ["inbox", "recall", "demo", "alice", ...more]);
    equal((await recall("--id", "0DGZRG3G80100001")).exitCode, 0);
    equal((await recall("--collapse", "score")).exitCode, 0);
    const requests = fleet.inboxAsked.map(({ request }) => request);
    deepEqual(requests, [
      { op: "recall", id: "0DGZRG3G80100001" },
      { op: "recall", collapse: "score" },
    ]);
    equal((await recall()).exitCode, 2);
    equal((await recall("--id", "nonsense")).exitCode, 2);
    equal(fleet.inboxAsked.length, 2);
  });

  test("erases only who says --yes, and tells a refusal", async () => {
    const fleet = await fleetWithDemo();
    fleet.inboxAnswer = { ok: true, messages: 1, devices: 2 };
    equal((await runCli(fleet, ["inbox", "erase", "demo", "alice"])).exitCode, 2);
    equal(fleet.inboxAsked.length, 0);
    const done = await runCli(fleet, ["inbox", "erase", "demo", "alice", "--yes"]);
    match(done.out, /erased, with 1 message, 2 devices/);
    fleet.inboxAnswer = errorAnswer("NOT_READY");
    const refusedRun = await runCli(fleet, ["inbox", "erase", "demo", "alice", "--yes", "--json"]);
    deepEqual([refusedRun.exitCode, refusedRun.document.code], [1, "NOT_READY"]);
  });
});

describe("shards", () => {
  test("joins what has one owner, epoch and state, with a step", async () => {
    const fleet = await fleetWithDemo();
    fleet.shards = fleet.shards.map((place) => {
      if (place.shard % 8 === 2) return { ...place, epoch: 2 };
      if (place.shard % 8 === 5) return { ...place, state: "moving", from: nodeA };
      return place.shard === 4095 ? { ...place, state: "unassigned", owner: undefined } : place;
    });
    const { document } = await runCli(fleet, ["shards", "--json"]);
    const range = (
      [from, to]: [number, number],
      [messagesPerSecond, sessions]: (number | null)[],
      node: typeof nodeA | undefined,
      epoch = 1,
    ) => ({
      from,
      to,
      step: 8,
      messagesPerSecond,
      sessions,
      state: node === undefined ? "unassigned" : "serving",
      epoch,
      nodeId: node?.nodeId ?? null,
      incarnation: node?.incarnation ?? null,
    });
    deepEqual(document, {
      states: { serving: 3583, moving: 512, unassigned: 1 },
      ranges: [
        range([0, 4088], [1024, 10], nodeA),
        range([1, 4089], [32, 10], nodeA),
        range([2, 4090], [32, 10], nodeA, 2),
        range([3, 4091], [32, 10], nodeA),
        range([4, 4092], [32, 10], nodeB),
        {
          ...range([5, 4093], [32, 10], nodeB),
          state: "moving",
          movesFrom: `${nodeA.nodeId}.${nodeA.incarnation}`,
        },
        range([6, 4094], [32, 10], nodeB),
        range([7, 4087], [31.9, null], nodeB),
        range([4095, 4095], [0.1, null], undefined),
      ],
    });
    const { out } = await runCli(fleet, ["shards"]);
    match(out, /^0-4088 by 8 +512 +dc1-a\.inca +1 +1024 +10 +serving$/m);
    match(out, /^4095 +1 +- +1 +0\.1 +- +unassigned$/m);
  });

  test("shows no load where the leader does not say", async () => {
    const fleet = await fleetWithDemo();
    fleet.leader = undefined;
    const { document, exitCode } = await runCli(fleet, ["shards", "--json"]);
    equal(exitCode, 0);
    ok(document.ranges.every((range: never) => range["messagesPerSecond"] === null));
  });

  test("shows one node's or one shard only", async () => {
    const fleet = await fleetWithDemo();
    const ranges = async (...args: string[]) =>
      (await runCli(fleet, ["shards", ...args, "--json"])).document.ranges.map(
        ({ from, to }: { from: number; to: number }) => [from, to],
      );
    const ofB = [4, 5, 6, 7].map((unit) => [unit, unit + 4088]);
    deepEqual(await ranges("--node", "dc1-b"), ofB);
    deepEqual(await ranges("--node", "dc1-b.incb"), ofB);
    deepEqual(await ranges("--shard", "3"), [[3, 3]]);
    deepEqual(await ranges("--shard", "3", "--node", "dc1-b"), []);
    const run = await runCli(fleet, ["shards", "--node", "dc1-q", "--json"]);
    deepEqual([run.exitCode, run.document.code], [1, "NOT_FOUND"]);
  });

  test("shows what a dead node still owns", async () => {
    const fleet = await fleetWithDemo();
    fleet.nodes = [nodeA];
    equal((await runCli(fleet, ["shards", "--node", "dc1-b"])).exitCode, 0);
  });
});

describe("app", () => {
  const record = (fleet: FakeFleet, app: string) =>
    decodeAppRecord(fleet.registry.entries.get(app)?.value ?? new Uint8Array());

  test("create registers it and prints the secret that clients' tokens are signed with", async () => {
    const fleet = await fleetWithDemo();
    const { document } = await runCli(fleet, ["app", "create", "shop", "--json"]);
    const made = record(fleet, "shop");
    deepEqual(made?.secrets, [{ kid: document.kid, secret: document.secret }]);
    match(document.kid, /^20260101-[0-9a-f]{8}$/);
    equal(Buffer.from(document.secret, "base64url").length, 32);
    deepEqual([made?.app, made?.delivery], ["shop", "each-device"]);
    deepEqual(document.nats, fleet.grant);
    equal(document.natsUrl, fleet.natsUrl);
  });

  test("create takes a delivery policy", async () => {
    const fleet = await fleetWithDemo();
    await runCli(fleet, ["app", "create", "shop", "--delivery", "first-ack"]);
    equal(record(fleet, "shop")?.delivery, "first-ack");
  });

  test("create refuses a name that is taken and leaves it as it was", async () => {
    const fleet = await fleetWithDemo();
    const run = await runCli(fleet, ["app", "create", "demo", "--json"]);
    deepEqual([run.exitCode, run.document.code], [1, "CONFLICT"]);
    deepEqual(record(fleet, "demo"), demo);
  });

  test("create tells the operator of another NATS server what to add", async () => {
    const fleet = await fleetWithDemo();
    fleet.grant = { state: "yours-to-add", block: "{ user: app-shop }" };
    const run = await runCli(fleet, ["app", "create", "shop"]);
    equal(run.exitCode, 0);
    match(
      run.out,
      /Add to the NATS server's configuration, then reload it:\n\{ user: app-shop \}\n$/,
    );
  });

  test("create still prints the secret when the NATS user could not be made", async () => {
    const fleet = await fleetWithDemo();
    fleet.grant = { state: "failed", message: "no" };
    const run = await runCli(fleet, ["app", "create", "shop"]);
    equal(run.exitCode, 1);
    ok(run.out.includes(record(fleet, "shop")?.secrets[0]?.secret ?? "none"));
    match(run.out, /its NATS user is not made: no/);
  });

  test("show and list name kids and never print a secret", async () => {
    const fleet = await fleetWithDemo();
    await fleet.registry.create("alien", new TextEncoder().encode('{"v":99}'));
    const shown = {
      app: "demo",
      createdAtMs: demo.createdAtMs,
      createdAt: "2026-01-01T00:00:00.000Z",
      delivery: "each-device",
      kids: ["k1"],
    };
    const { limits, events, ...rest } = (await runCli(fleet, ["app", "show", "demo", "--json"]))
      .document;
    deepEqual(rest, shown);
    ok(Object.values(limits).every((limit) => limit === null));
    deepEqual(events, { receipts: false, presence: false });
    const list = await runCli(fleet, ["app", "list", "--json"]);
    deepEqual(list.document, { apps: [shown], unreadable: 1 });
    for (const args of [["show", "demo"], ["list"]]) {
      const { out } = await runCli(fleet, ["app", ...args]);
      match(out, /k1/);
      ok(!out.includes("sss"));
    }
  });

  test("show refuses an app that is not registered", async () => {
    for (const args of [
      ["show", "shop"],
      ["rotate-secret", "shop"],
    ]) {
      const run = await runCli(await fleetWithDemo(), ["app", ...args, "--json"]);
      deepEqual([run.exitCode, run.document.code], [1, "UNKNOWN_APP"]);
    }
  });

  test("rotate-secret puts the new one first and keeps two live", async () => {
    const fleet = await fleetWithDemo();
    const first = (await runCli(fleet, ["app", "rotate-secret", "demo", "--json"])).document;
    deepEqual(first.kids, [first.kid, "k1"]);
    deepEqual(first.ended, []);
    const made = record(fleet, "demo");
    deepEqual(made?.secrets, [{ kid: first.kid, secret: first.secret }, ...demo.secrets]);
    deepEqual(made?.createdAtMs, demo.createdAtMs);
    fleet.registry.entries.set("demo", {
      key: "demo",
      revision: 9,
      value: encodeAppRecord({ ...demo, secrets: [{ kid: "k2", secret: "t" }, ...demo.secrets] }),
    });
    const second = (await runCli(fleet, ["app", "rotate-secret", "demo", "--json"])).document;
    deepEqual(second.kids, [second.kid, "k2"]);
    deepEqual(second.ended, ["k1"]);
  });

  test("rotate-secret is refused when somebody else was faster", async () => {
    const fleet = await fleetWithDemo();
    const get = fleet.registry.get.bind(fleet.registry);
    fleet.registry.get = async (key) => {
      const entry = await get(key);
      return entry && { ...entry, revision: entry.revision - 1 };
    };
    const run = await runCli(fleet, ["app", "rotate-secret", "demo", "--json"]);
    deepEqual([run.exitCode, run.document.code], [1, "CONFLICT"]);
    deepEqual(record(fleet, "demo"), demo);
  });
});

describe("token", () => {
  test("is signed with the newest secret and stands alone on stdout", async () => {
    const fleet = await fleetWithDemo();
    await runCli(fleet, ["app", "rotate-secret", "demo"]);
    const run = await runCli(fleet, ["token", "demo", "alice"]);
    match(run.out, /^signed\.20260101-[0-9a-f]{8}\.alice\n$/);
  });

  test("has its claims beside it as JSON", async () => {
    const args = ["token", "demo", "alice", "--device", "d1", "--ttl", "60", "--json"];
    const { document } = await runCli(await fleetWithDemo(), args);
    equal(document.token, "signed.k1.alice");
    const { jti, ...claims } = document.claims;
    deepEqual(claims, {
      app: "demo",
      sub: "alice",
      // A minute after the clock's start, and 60 s more.
      exp: Date.UTC(2026, 0, 1) / 1000 + 120,
      device: "d1",
    });
    ok(jti.length >= 16);
  });

  test("may name the routes that it is good for", async () => {
    const args = ["token", "demo", "alice", "--routes", "orders", "chat.v1", "--json"];
    const { document } = await runCli(await fleetWithDemo(), args);
    deepEqual(document.claims.routes, ["orders", "chat.v1"]);
    const wrong = ["token", "demo", "alice", "--routes", "r".repeat(65)];
    equal((await runCli(await fleetWithDemo(), wrong)).exitCode, 2);
  });

  test("is refused for an app that is not registered and for a user who cannot be", async () => {
    const cases = [
      ["shop", "alice", "UNKNOWN_APP"],
      ["demo", "", "BAD_UID"],
    ] as const;
    for (const [app, uid, code] of cases) {
      const run = await runCli(await fleetWithDemo(), ["token", app, uid, "--json"]);
      deepEqual([run.exitCode, run.document.code], [1, code]);
    }
  });
});
