/** A volume that does not open: its node says so, and serves everything else. */
import assert from "node:assert/strict";
import { open } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { shardOf } from "../../src/protocol/shards.js";
import { app, startPlatform } from "../support/platform.js";
import { until } from "../support/until.js";

const damaged = 3;

test("says which volume it cannot serve, and serves the others", async () => {
  await using platform = await startPlatform({
    nodes: ["a"],
    environment: { BELFRY_LOG_LEVEL: "silent" },
  });
  await platform.killNode("a", "SIGTERM");
  const file = await open(join(platform.folder, "data", `volume-${damaged}`, "data.mdb"), "r+");
  await file.write(new Uint8Array(4_096));
  await file.close();
  const { httpUrl } = await platform.startNode("a");
  const answer = await until(
    "it knows",
    async () => {
      const response = await fetch(`${httpUrl}/healthz`);
      const text = await response.text();
      return text === "ok\n" || text === "no lease\n" ? undefined : { response, text };
    },
    60_000,
  );
  assert.equal(answer.text, `ok, but cannot serve groups ${damaged}\n`);
  assert.equal(answer.response.status, 200);
  // Said with its next renewal.
  const record = await until("it tells the others", async () => {
    const now = await platform.nodeRecord("dc1-a").catch(() => undefined);
    return now?.cannotServe !== undefined && now;
  });
  assert.deepEqual(record.cannotServe, [damaged]);
  assert.equal(record.unwell, undefined);
  for (let index = 0; index < 40; index++) {
    const isDamaged = shardOf(app, `u${index}`) % 8 === damaged;
    if (isDamaged) continue;
    // The other volumes open one after the other.
    const isServed = async () => (await platform.tryPush(`u${index}`, { body: 1 }))?.ok;
    await until(`u${index} is served`, isServed);
  }
});
