/** The shard function is the server's own: held equal on a real server with awkward names. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { NatsBus } from "../../src/drivers/nats-bus.js";
import { connectNats } from "../../src/drivers/nats-connection.js";
import { sessionKey, shardOf } from "../../src/protocol/shards.js";
import {
  inboxUserSubject,
  pushUserSubject,
  shardInboxSubject,
  shardPushSubject,
} from "../../src/protocol/subjects.js";
import { encodeToken } from "../../src/protocol/tokens.js";
import { startNats } from "../support/nats-server.js";
import { until } from "../support/until.js";

const awkward = [
  "alice",
  "",
  "a.b.c",
  "with space",
  "star*",
  "more>",
  "100%",
  "%2E",
  "günther",
  "用户",
  "😀",
  "tab\there",
  "slash/and\\back",
  "-_~!$&'()+,;=:@",
  "x".repeat(128),
];

test("computes the shard that the server maps a push to", async () => {
  await using nats = await startNats();
  const { user, pass, inboxPrefix } = nats.credentials.node;
  const link = await connectNats({
    url: nats.url,
    name: "test",
    user,
    password: pass,
    inboxPrefix,
  });
  const bus = new NatsBus(link);
  const seen: string[] = [];
  bus.subscribe("shard.>", ({ subject }) => void seen.push(subject));
  await bus.flush();
  const numbered = Array.from({ length: 2_000 }, (_, index) => `user-${index}`);
  const pairs = [
    ...awkward.map((uid) => ["demo", uid] as const),
    ...awkward.filter((app) => app !== "").map((app) => [app.slice(0, 20), "alice"] as const),
    ...numbered.map((uid) => ["demo", uid] as const),
  ];
  for (const [app, uid] of pairs) bus.publish(pushUserSubject(app, uid), new Uint8Array(0));
  await until("all are mapped", () => seen.length >= pairs.length);
  const expected = pairs.map(([app, uid]) => {
    const [appToken, uidToken] = [encodeToken(app), encodeToken(uid)];
    return shardPushSubject(shardOf(appToken, uidToken), sessionKey(appToken, uidToken));
  });
  assert.deepEqual(seen, expected);
  seen.length = 0;
  for (const uid of awkward) bus.publish(inboxUserSubject("demo", uid), new Uint8Array(0));
  await until("requests to inboxes are mapped", () => seen.length >= awkward.length);
  const asked = awkward.map((uid) => {
    const uidToken = encodeToken(uid);
    return shardInboxSubject(shardOf("demo", uidToken), sessionKey("demo", uidToken));
  });
  assert.deepEqual(seen, asked);
  assert.ok(new Set(expected.map((subject) => subject.split(".")[1])).size > 1_000, "they spread");
  await link.close();
});
