/**
 * Peers that never close, on real nodes, 500 of each kind: half-open and half-closed ones,
 * heads that come byte by byte, such as stop reading, are stopped, or whose packets are
 * dropped. After the deadlines a node holds no socket of theirs, none in CLOSE_WAIT, and
 * its memory is what it was when it had served as many before.
 *
 *   HOSTILE_PEERS=10000   of each kind; ten minutes and more
 *
 * Packets are dropped in a network namespace of the run's own, which wants neither root nor
 * another machine; where the system gives none, that kind alone is left out, and said.
 */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import type { HostileReport } from "../support/hostile-run.js";
import { Scratch } from "../support/scratch.js";
import { until } from "../support/until.js";

const program = fileURLToPath(new URL("../support/hostile-run.js", import.meta.url));
const isLong = Number(process.env["HOSTILE_PEERS"] ?? 0) > 1_000;
const runMsMax = (isLong ? 40 : 8) * 60_000;
/** Rules of the run's own are to come before the table of local addresses. */
const setUp = "ip link set lo up && ip rule add pref 100 lookup local && ip rule del pref 0";
const unshare = ["-Urn", "sh", "-c"];

function hasNamespaces(): boolean {
  return spawnSync("unshare", [...unshare, setUp]).status === 0;
}

describe("after their deadlines, of peers that never close,", () => {
  const inNamespace = hasNamespaces();
  let report: HostileReport;

  before(async () => {
    await using scratch = await Scratch.create("hostile-peers");
    const command = [process.execPath, "--enable-source-maps", program];
    const [file = "", ...args] = inNamespace
      ? ["unshare", ...unshare, `${setUp} && exec "$@"`, "sh", ...command]
      : command;
    const env = { ...process.env, ...(inNamespace ? { HOSTILE_NAMESPACE: "1" } : {}) };
    const run = scratch.start(file, args, { env });
    await until("the run is over", () => run.end !== undefined, runMsMax);
    assert.equal(run.end, 0, run.err);
    report = JSON.parse(run.out);
  });

  test("a node holds no socket, and none in CLOSE_WAIT", (t) => {
    for (const { node, what, peak, goneAfterMs, closeWait } of report.kinds) {
      t.diagnostic(`${node}: ${report.count} ${what}: ${peak} held, none after ${goneAfterMs} ms`);
      assert.ok(peak > 0, `those who ${what} were there`);
      assert.equal(closeWait, 0, what);
    }
    assert.ok(report.kinds.length >= 14);
    if (!inNamespace) t.diagnostic("no namespace for the network: none vanished");
  });

  test("its memory is what it was before", (t) => {
    t.diagnostic("before, at most and after, collected:");
    for (const { node, before, peakBytes, after, isBack } of report.memory) {
      const resident = [before.residentBytes, peakBytes, after.residentBytes].map(megabytes);
      const live = [before.heapBytes, after.heapBytes].map(megabytes);
      const shown = `resident ${resident.join(", ")}; live heap ${live.join(", ")}`;
      t.diagnostic(`${node}: ${shown}`);
      assert.ok(isBack, `${node}: ${shown}`);
    }
  });
});

function megabytes(bytes: number): string {
  return `${(bytes / 2 ** 20).toFixed(1)} MB`;
}
