/** Services and a user's inbox on real parts: list, recall, erase, over both SDKs. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { createService } from "../../src/client/service-client.js";
import { app, startPlatform } from "../support/platform.js";
import { until } from "../support/until.js";

test("a service lists, recalls and erases; devices learn of it", async () => {
  await using platform = await startPlatform();
  const service = createService({
    connection: platform.operator.client,
    app,
    timeoutMs: 30_000,
  });
  const received: unknown[] = [];
  const recalled: string[] = [];
  const device = platform.device("alice", {
    start: "all",
    onMessage: ({ body }) => {
      received.push(body);
      // The second is never taken: it stays in the inbox.
      return body === "stuck" ? new Promise<void>(() => undefined) : undefined;
    },
    onRecall: (id) => void recalled.push(id),
  });
  await until("alice is attached", () => device.position !== undefined);
  await service.pushReliably("alice", { body: "taken" });
  const stuck = await service.pushReliably("alice", { body: "stuck", type: "chat" });
  assert.ok(stuck.ok);
  await until("both are there", () => received.length === 2);
  await until("the first is acked", async () => {
    const listed = await service.listInbox("alice");
    return listed.ok && listed.messages === 1;
  });
  const listed = await service.listInbox("alice", { limit: 10 });
  assert.ok(listed.ok);
  assert.deepEqual(
    listed.entries.map(({ id, type }) => [id, type]),
    [[stuck.id, "chat"]],
  );
  assert.deepEqual([listed.presence, listed.devices[0]?.connected], ["connected", true]);

  assert.deepEqual(await service.recall("alice", { id: stuck.id }), {
    ok: true,
    recalled: [stuck.id],
  });
  await until("the device is told", () => recalled.includes(stuck.id));
  const missing = await service.recall("alice", { collapse: "nothing of it" });
  assert.deepEqual(missing, { ok: true, recalled: [] });

  await service.pushReliably("alice", { body: "waits", ttl: 600 });
  const erased = await service.erase("alice");
  assert.deepEqual(erased, { ok: true, messages: 1, devices: 1 });
  await until("the device is closed for good", () => device.state.name === "stopped");
  assert.equal(device.state.name === "stopped" && device.state.code, 4506);
  const after = await service.listInbox("alice");
  assert.ok(after.ok);
  assert.deepEqual([after.messages, after.lastSeq, after.devices], [0, 0, []]);
  assert.notEqual(after.generation, listed.generation);

  const bad = await service.recall("alice", { id: "no such id" });
  assert.equal(!bad.ok && bad.code, "BAD_COMMAND");
});
