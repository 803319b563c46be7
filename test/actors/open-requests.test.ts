/** Requests on their way to an answer: which are closed, and when one is overdue. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { defaultLimits } from "../../actors/limits.js";
import { OpenRequests, overdueBefore } from "../../actors/open-requests.js";
import { PushRequest } from "../../actors/push-request.js";

const requestOf = (shard: number, sinceMs = 0) =>
  new PushRequest(`_INBOX.${shard}`, "json", shard, "i", sinceMs);

test("those of all shards that were lost at once are closed, and no others", () => {
  const open = new OpenRequests(10);
  const requests = [1, 2, 3, 2].map((shard) => requestOf(shard));
  for (const request of requests) assert.ok(open.add(request));
  open.closeShards(new Map([2, 3].map((shard) => [shard, 9])));
  assert.deepEqual(
    requests.map(({ isAnswered }) => isAnswered),
    [false, true, true, true],
  );
  const answered: number[] = [];
  open.sweep(1, ({ shard }) => void answered.push(shard));
  assert.deepEqual(answered, [1]);
  assert.equal(open.count, 0);
});

test("one is overdue shortly before the deadline of who asked", () => {
  const { requestDeadlineMs } = defaultLimits;
  const beforeMs = overdueBefore(100_000, defaultLimits);
  assert.ok(beforeMs > 100_000 - requestDeadlineMs && beforeMs < 100_000);
});
