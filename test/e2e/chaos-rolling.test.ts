/** Every node is stopped in order and started again, one after the other, under load. */
import { test } from "node:test";
import { untilBalanced } from "../support/placement-state.js";
import { startPlatform } from "../support/platform.js";
import { RecordedLoad } from "../support/recorded-load.js";

const nodes = ["a", "b", "c", "d"];
const users = Array.from({ length: 48 }, (_, index) => `user-${index}`);

test("loses no answered push while all nodes are restarted one by one", async (t) => {
  await using platform = await startPlatform({ nodes });
  await untilBalanced(platform);
  await using load = await RecordedLoad.start(platform, { users });
  for (const name of nodes) {
    const stoppedMs = performance.now();
    await platform.killNode(name, "SIGTERM");
    const goneMs = performance.now() - stoppedMs;
    await platform.startNode(name);
    await untilBalanced(platform);
    const balancedMs = performance.now() - stoppedMs;
    t.diagnostic(
      `${name} was gone after ${goneMs.toFixed(0)} ms, and has its share again after ${balancedMs.toFixed(0)} ms`,
    );
    await load.untilAnswered(users.length);
  }
  t.diagnostic(await load.settle());
});
