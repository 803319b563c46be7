/**
 * The loss test: services push and repeat, clients come and go, parts are killed and
 * stopped; at the end all comes to rest, and what was accepted is compared with what was
 * shown, by the publishers' own numbers.
 *
 *   LOSS_MINUTES   how long faults go on; 2 unless given
 *   LOSS_SEED      chooses faults, times, pushes and habits; printed with every run
 *   LOSS_FAULTS    only those whose names fit it, such as `node killed|NATS`
 *   LOSS_BREAKAGE  takes a safeguard out of the nodes (loss-breakage.ts): must turn red
 */
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { KeptNodes } from "./kept-nodes.js";
import { habitOf, LossDevices } from "./loss-devices.js";
import { type LossFault, LossFaults, natsFaults, nodeFaults } from "./loss-faults.js";
import { accountOf, expectedInbox, faultsSoFar, finalFaults } from "./loss-judge.js";
import { laneRest, openLane } from "./loss-lanes.js";
import { LossLedger } from "./loss-ledger.js";
import type { NodesSaid } from "./loss-nodes-said.js";
import { LossPublishers, type LossRecipient, type OpenWay } from "./loss-publishers.js";
import { type LossReport, latenciesOf, reportOf } from "./loss-report.js";
import { runOperatorCommand } from "./operator-command.js";
import type { Platform } from "./platform.js";
import { inboxMessagesOf, whatIsUnsettled } from "./settled-platform.js";
import { until } from "./until.js";

export interface LossPlan {
  readonly name: string;
  readonly platform: Platform;
  /** By publisher, those by request. */
  readonly ways: ReadonlyMap<string, OpenWay>;
  /** Beside those of nodes and NATS. */
  readonly faults: (nodes: KeptNodes) => readonly LossFault[];
  readonly nodesSaid: NodesSaid;
}

const users = 105;
/** Beside those, of a publisher on a lane. */
const laneUsers = 28;
const lanePublisher = "l0";
const secondDeviceEvery = 3;
const judgeEveryMs = 100;
/** Paths of messages that are reported. */
const pathsMax = 5;
/** What waited for a fault's end, with its repeats, on a busy machine. */
const answeredDeadlineMs = 90_000;
const settleDeadlineMs = 90_000;
const resultsFolder = fileURLToPath(new URL("../../../test/results", import.meta.url));

export function lossMinutes(): number {
  return Number(process.env["LOSS_MINUTES"] || 2);
}

export function lossSeed(): number {
  return Number(process.env["LOSS_SEED"] || Math.floor(Math.random() * 1_000_000));
}

/** Resolves to the report; throws what was found wrong, when the report is written. */
export async function runLossTest(plan: LossPlan, seed: number): Promise<LossReport> {
  await using run = new LossRun(plan, seed);
  await run.start();
  await run.trouble(lossMinutes() * 60_000);
  await run.rest();
  const report = await run.report();
  const file = join(resultsFolder, `${plan.name}.json`);
  await mkdir(resultsFolder, { recursive: true });
  await writeFile(file, `${JSON.stringify(report, undefined, 2)}\n`);
  process.stderr.write(`${file}\n`);
  if (report.faultsFound.length === 0) return report;
  const shown = report.faultsFound.slice(0, 20).join("\n  ");
  const when = report.firstSeenMs === undefined ? "at the end" : `after ${report.firstSeenMs} ms`;
  throw new Error(`${report.faultsFound.length} faults, seen ${when}, seed ${seed}:\n  ${shown}`);
}

/** When the last push with a ttl has expired, wherever in its sending it was accepted. */
function lastGoodMs(ledger: LossLedger): number {
  const goodUntilMs = ledger.pushes.map(
    ({ endedWallMs = 0, ttlSeconds = 0 }) => endedWallMs + ttlSeconds * 1_000,
  );
  return goodUntilMs.reduce((last, ms) => Math.max(last, ms), 0);
}

class LossRun implements AsyncDisposable {
  private readonly ledger = new LossLedger();
  private readonly startMs = performance.now();
  private readonly recipients: readonly LossRecipient[];
  private readonly devices: LossDevices;
  private readonly publishers: LossPublishers;
  private readonly nodes: KeptNodes;
  private readonly nemesis: LossFaults;
  private readonly found = new Set<string>();
  private firstSeenMs: number | undefined;
  /** Counted in the inboxes of who never came, before they came. */
  private keptForLate = 0;

  constructor(
    private readonly plan: LossPlan,
    private readonly seed: number,
  ) {
    const { platform, faults } = plan;
    this.recipients = Array.from({ length: users + laneUsers }, (_, at) => ({
      uid: `user-${at}`,
      isLate: habitOf(at) === "late",
      way: at < users ? "request" : "lane",
    }));
    for (const { uid, way } of this.recipients) this.ledger.user(uid).way = way;
    plan.nodesSaid.onSetAside = (uid, device, id) => this.ledger.noteSetAside(uid, device, id);
    this.devices = new LossDevices(platform, this.ledger, seed);
    this.publishers = new LossPublishers(platform, this.ledger, this.recipients, seed);
    this.nodes = new KeptNodes(platform);
    const wanted = new RegExp(process.env["LOSS_FAULTS"] ?? "");
    const all = [...nodeFaults(this.nodes), ...natsFaults(platform), ...faults(this.nodes)].filter(
      ({ name }) => wanted.test(name),
    );
    this.nemesis = new LossFaults(all, seed, () => this.publishers.burst());
  }

  async start(): Promise<void> {
    for (const [at, { uid, isLate }] of this.recipients.entries()) {
      this.devices.add(uid, "phone", habitOf(at));
      if (!isLate && at % secondDeviceEvery === 0) this.devices.add(uid, "tablet", "steady");
    }
    await until("all devices are attached", () => this.devices.areAttached, settleDeadlineMs);
    for (const [name, open] of this.plan.ways) await this.publishers.add(name, "request", open);
    await this.publishers.add(lanePublisher, "lane", openLane);
    this.devices.stir();
  }

  /** Ends early when something is found wrong: the cause is fresh then. */
  async trouble(forMs: number): Promise<void> {
    const endMs = performance.now() + forMs;
    let isOver = false;
    const judged = this.judge(() => isOver);
    await this.nemesis.run(endMs, () => this.found.size > 0);
    isOver = true;
    await judged;
  }

  /** Faults are over: everybody is answered, comes and takes all that is there. */
  async rest(): Promise<void> {
    await this.within("every push is answered", answeredDeadlineMs, this.publishers.stop());
    await this.noting(() => until("all nodes run", () => this.nodes.areUp, settleDeadlineMs));
    await this.noting(() => this.untilLaneIsEmpty());
    await this.noting(() => this.untilLateInboxesFit());
    await this.devices.calm();
    this.devices.gather(this.lateUids);
    await this.noting(() =>
      until("all devices are back", () => this.devices.areAttached, settleDeadlineMs),
    );
    await this.noting(() => this.untilSettled());
    const last = lastGoodMs(this.ledger);
    await until("what may have expired, has", () => Date.now() > last);
    for (const user of this.ledger.users.values()) {
      for (const fault of [...faultsSoFar(user), ...finalFaults(user, Date.now())]) {
        this.found.add(fault);
      }
    }
  }

  async report(): Promise<LossReport> {
    const { plan, seed, nemesis, nodes, publishers, ledger } = this;
    return reportOf({
      name: plan.name,
      seed,
      minutes: lossMinutes(),
      tookMs: Math.round(performance.now() - this.startMs),
      users: this.recipients.length,
      devices: this.devices.all.length,
      publishers: [...plan.ways.keys(), lanePublisher],
      account: accountOf(ledger.users.values(), Date.now()),
      keptForLate: this.keptForLate,
      latencies: latenciesOf(ledger.pushes),
      longestSilenceMs: Math.round(publishers.longestSilenceMs),
      faultsDone: nemesis.done,
      nodes: { endedByThemselves: nodes.endedByThemselves, failedStarts: nodes.failedStarts },
      faultsFound: [...this.found],
      paths: await this.pathsOfFaults(),
      firstSeenMs: this.firstSeenMs,
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.devices.close();
    await this.publishers[Symbol.asyncDispose]();
    await this.nodes[Symbol.asyncDispose]();
  }

  private async pathsOfFaults(): Promise<unknown[]> {
    const ids = new Set([...this.found].flatMap((fault) => fault.match(/\b[0-9A-Z]{16}\b/g) ?? []));
    const paths: unknown[] = [];
    for (const id of [...ids].slice(0, pathsMax)) {
      const said = await runOperatorCommand(this.plan.platform, "message", id).catch(String);
      paths.push(typeof said === "string" ? said : said.document);
    }
    return paths;
  }

  private get lateUids(): string[] {
    return this.recipients.filter(({ isLate }) => isLate).map(({ uid }) => uid);
  }

  /** One user at each look, so that no look is long. */
  private async judge(isOver: () => boolean): Promise<void> {
    for (let at = 0; !isOver(); at++) {
      await delay(judgeEveryMs);
      const uid = this.recipients[at % this.recipients.length]?.uid ?? "";
      for (const fault of faultsSoFar(this.ledger.user(uid))) {
        this.firstSeenMs ??= Math.round(performance.now() - this.startMs);
        this.found.add(fault);
      }
    }
  }

  private async untilLaneIsEmpty(): Promise<void> {
    let left: string | undefined;
    const isEmpty = async () => {
      left = await laneRest(this.plan.platform).catch(String);
      return left === undefined;
    };
    await until("the lane is empty", isEmpty, settleDeadlineMs).catch(() => {
      throw new Error(`UNSETTLED: ${left}`);
    });
  }

  /** The model and the inbox name the same number, once what had to has expired. */
  private async untilLateInboxesFit(): Promise<void> {
    for (const uid of this.lateUids) {
      let last = "";
      const fits = async () => {
        const expected = expectedInbox(this.ledger.user(uid), Date.now());
        const kept = await inboxMessagesOf(this.plan.platform, uid);
        last = `${kept} are in the inbox of ${uid}, who never came, and ${expected} must be`;
        return kept === expected && { kept };
      };
      const { kept } = await until("the inbox fits", fits, settleDeadlineMs).catch(() => {
        throw new Error(last);
      });
      this.keptForLate += kept;
    }
  }

  private async untilSettled(): Promise<void> {
    let unsettled: string | undefined;
    const isSettled = async () => {
      unsettled = await whatIsUnsettled(this.plan.platform, this.devices);
      return unsettled === undefined;
    };
    await until("all has settled", isSettled, settleDeadlineMs).catch(() => {
      throw new Error(`UNSETTLED: ${unsettled}`);
    });
  }

  /** What does not come to rest is a fault among the others, which may say why. */
  private async noting(step: () => Promise<unknown>): Promise<void> {
    try {
      await step();
    } catch (error) {
      this.found.add((error as Error).message);
    }
  }

  private async within(what: string, deadlineMs: number, step: Promise<void>): Promise<void> {
    let isDone = false;
    void step.then(() => {
      isDone = true;
    });
    await this.noting(() => until(what, () => isDone, deadlineMs));
  }
}
