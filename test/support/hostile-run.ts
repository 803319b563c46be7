/**
 * Real nodes under peers that never close, kind by kind: after the deadlines a node holds
 * no socket of theirs, and its memory is what it was. One JSON document on standard output.
 *
 *   HOSTILE_PEERS=10000      of each kind
 *   HOSTILE_NAMESPACE=1      this process has a network of its own: peers can vanish from it
 *
 * A process of its own because of that network; test/e2e/hostile-peers.test.ts judges.
 */
import { execFileSync } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import type { Limits } from "../../actors/limits.js";
import { memoryOf } from "../../bench/harness/process-usage.js";
import { Asking, WorkerProcess } from "../../bench/harness/worker-process.js";
import { makeCertificate } from "./certificate.js";
import { withLimits } from "./changed-limits.js";
import { heldSockets } from "./held-sockets.js";
import { devicesPerUser, type HostilePeers, type PeerKind, userOf } from "./hostile-peers.js";
import { type Platform, type PlatformNode, startPlatform } from "./platform.js";
import { until } from "./until.js";

export interface KindReport {
  readonly node: string;
  readonly what: string;
  /** Sockets beside those of before, at most. */
  readonly peak: number;
  readonly goneAfterMs: number;
  readonly closeWait: number;
}

/** After a collection. */
export interface Memory {
  readonly residentBytes: number;
  /** Live objects, and buffers beside them. */
  readonly heapBytes: number;
}

export interface MemoryReport {
  readonly node: string;
  readonly before: Memory;
  /** Resident. */
  readonly peakBytes: number;
  readonly after: Memory;
  readonly isBack: boolean;
}

export interface HostileReport {
  readonly count: number;
  readonly kinds: readonly KindReport[];
  readonly memory: readonly MemoryReport[];
}

type End = "stay" | "are stopped" | "vanish";
type Case = readonly [kind: PeerKind, end?: End];

const second = 1_000;
/** All are to be there before the first is overdue. */
const limitsOf = (count: number): Partial<Limits> => {
  const times = count > 1_000 ? 5 : 1;
  return {
    ...{ handshakeDeadlineMs: 3 * second * times, helloDeadlineMs: 3 * second * times },
    ...{ heartbeatMs: second * times, heartbeatDeadlineMs: 4 * second * times },
    closeDeadlineMs: 2 * second,
    // A minute for each case that stops reading would be spent on waiting.
    inTransitBytesMax: 2 * 1_024 * times,
  };
};
/** As docs/operations.md has it: with an arena for each thread glibc keeps what TLS took. */
const givingBack = { MALLOC_ARENA_MAX: "1", MALLOC_TRIM_THRESHOLD_: "131072" };
const goneMsMax = 90 * second;
const heapGrownMax = 1.05;
/** On a quiet machine 1 % stayed, at a load of 20 once 7 %: what V8 and glibc keep for the next. */
const residentGrownMax = 1.15;
/** What OpenSSL took comes back in pieces: 1 to 15 % stayed with glibc, its live heap aside. */
const residentGrownMaxTls = 1.25;
/** Sessions of users that are gone go to sleep after a minute. */
const memoryBackMsMax = 90 * second;
const inNode = new URL("../../bench/harness/in-node.js", import.meta.url).href;
const peersProgram = "../test/support/hostile-peers.js";
/** Of what nobody reads, to each peer that is attached. */
const bodyBytes = 60_000;
const bodies = 3;

const warmUp: readonly Case[] = [
  ["read no answer to a plain request"],
  ["end their side of a connection"],
  ["stop reading"],
  ["stop reading"],
];
const cases: readonly Case[] = [
  ["say nothing"],
  ["send their head byte by byte"],
  ["end their side within the head"],
  ["stop within a plain request"],
  ["read no answer to a plain request"],
  ["read no refusal"],
  ["send no hello"],
  ["end their side of a connection"],
  ["stop reading"],
  ["stop reading", "are stopped"],
  ["stop reading", "vanish"],
];
const tlsCases: readonly Case[] = [
  ["stop within TLS's handshake"],
  ["say nothing"],
  ["read no answer to a plain request"],
  ["end their side of a connection"],
  ["stop reading", "vanish"],
];

const count = Number(process.env["HOSTILE_PEERS"] ?? 500);
const hasNamespace = process.env["HOSTILE_NAMESPACE"] !== undefined;
const vanishing = "127.0.0.2";

function setRules(what: "add" | "del"): void {
  for (const direction of ["from", "to"]) {
    execFileSync("ip", ["rule", what, "pref", "10", direction, vanishing, "blackhole"]);
  }
}

/** For who waits: the long form takes a while. */
function note(what: object): void {
  process.stderr.write(`${JSON.stringify(what)}\n`);
}

function isBack(before: Memory, after: Memory, isTls: boolean): boolean {
  const grownMax = isTls ? residentGrownMaxTls : residentGrownMax;
  return (
    after.residentBytes <= before.residentBytes * grownMax &&
    after.heapBytes <= before.heapBytes * heapGrownMax
  );
}

class NodeUnderPeers {
  readonly kinds: KindReport[] = [];
  private readonly asking: Asking;
  private readonly shown: unknown[] = [];
  private readonly witness: string;
  private before: Memory = { residentBytes: 0, heapBytes: 0 };
  private peakBytes = 0;

  constructor(
    private readonly platform: Platform,
    private readonly node: PlatformNode,
    private readonly isTls: boolean,
  ) {
    this.asking = new Asking(node.name, node.process);
    this.witness = `witness-${node.name}`;
  }

  async run(cases: readonly Case[]): Promise<void> {
    const { platform, node } = this;
    if (!this.isTls) {
      platform.device(this.witness, {
        urls: [node.edgeUrl],
        onMessage: ({ body }) => void this.shown.push(body),
      });
      await this.untilServed("first");
    }
    // What serving so many for the first time takes (compiled code, grown maps and heaps) is
    // no peer's: it comes once.
    for (const each of this.isTls ? tlsCases : warmUp) await this.playWhereItCan(each);
    this.kinds.length = 0;
    this.before = await this.settled();
    for (const each of cases) await this.playWhereItCan(each);
  }

  async memoryBack(): Promise<MemoryReport> {
    const { node, before, peakBytes, isTls } = this;
    const endMs = performance.now() + memoryBackMsMax;
    let after = await this.settled();
    while (!isBack(before, after, isTls) && performance.now() < endMs) {
      await delay(2 * second);
      after = await this.settled();
    }
    const memory = {
      node: node.name,
      before,
      peakBytes,
      after,
      isBack: isBack(before, after, isTls),
    };
    note(memory);
    return memory;
  }

  private async playWhereItCan(each: Case): Promise<void> {
    if (each[1] !== "vanish" || hasNamespace) await this.play(each);
  }

  private async play([kind, end = "stay"]: Case): Promise<void> {
    const { node, isTls } = this;
    const before = heldSockets(node.pid).held;
    const port = Number(new URL(node.httpUrl).port);
    const localAddress = end === "vanish" ? vanishing : "127.0.0.1";
    await using peers = WorkerProcess.start(peersProgram);
    const opening = { port, isTls, kind, count, localAddress } satisfies HostilePeers;
    const opened = peers.ask("open", opening);
    const held = () => heldSockets(node.pid).held - before;
    let peak = 0;
    const watching = setInterval(() => {
      peak = Math.max(peak, held());
    }, 50);
    await opened;
    if (end === "are stopped") peers.child.kill("SIGSTOP");
    if (end === "vanish") setRules("add");
    const startMs = performance.now();
    if (kind === "stop reading") await this.pushToAll();
    this.peakBytes = Math.max(this.peakBytes, memoryOf(node.pid).rssBytes);
    await until(`no socket is left of those who ${kind}`, () => held() <= 0, goneMsMax);
    clearInterval(watching);
    const goneAfterMs = Math.round(performance.now() - startMs);
    const { closeWait } = heldSockets(node.pid);
    const what = end === "stay" ? kind : `${kind} and ${end}`;
    const report = { node: node.name, what, peak, goneAfterMs, closeWait };
    note({ ...report, ...(await this.settled()) });
    this.kinds.push(report);
    if (end === "vanish") setRules("del");
    peers.child.kill("SIGKILL");
    if (!isTls) await this.untilServed(what);
  }

  private async pushToAll(): Promise<void> {
    const body = "x".repeat(bodyBytes);
    for (let at = 0; at < count; at += devicesPerUser) {
      for (let times = 0; times < bodies; times++) {
        await this.platform.tryPush(userOf(at), { body, qos: 0 });
      }
    }
  }

  private async untilServed(what: string): Promise<void> {
    const body = `after those who ${what}`;
    await until("it is accepted", async () => {
      return (await this.platform.tryPush(this.witness, { body }))?.ok;
    });
    await until("the witness is shown it", () => this.shown.includes(body));
  }

  private async settled(): Promise<Memory> {
    const { heapUsed, external } = await this.asking.ask<NodeJS.MemoryUsage>("collect");
    const { rssBytes: residentBytes } = memoryOf(this.node.pid);
    return { residentBytes, heapBytes: heapUsed + external };
  }
}

async function run(folder: string): Promise<HostileReport> {
  await using platform = await startPlatform({
    nodes: [],
    isAsShipped: true,
    folder: join(folder, "platform"),
  });
  const limits = { ...withLimits(limitsOf(count), [inNode]), ...givingBack };
  const { certFile, keyFile } = await makeCertificate(folder);
  const tls = { BELFRY_TLS_CERT_FILE: certFile, BELFRY_TLS_KEY_FILE: keyFile };
  const nodes = [
    new NodeUnderPeers(platform, await platform.startNode("plain", limits), false),
    new NodeUnderPeers(platform, await platform.startNode("tls", { ...limits, ...tls }), true),
  ];
  await platform.untilPlaced();
  for (const [at, node] of nodes.entries()) await node.run(at === 0 ? cases : tlsCases);
  const memory = await Promise.all(nodes.map((node) => node.memoryBack()));
  return { count, kinds: nodes.flatMap(({ kinds }) => kinds), memory };
}

const folder = await mkdtemp(join(tmpdir(), "belfry-test-"));
try {
  process.stdout.write(`${JSON.stringify(await run(folder))}\n`);
} finally {
  await rm(folder, { recursive: true, force: true });
}
