/** The registry as a node sees it: what is removed is gone, whenever that was. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { KvAppDirectory } from "../../src/drivers/kv-app-directory.js";
import { MemoryKeyValue } from "../../src/drivers/memory-key-value.js";
import { connectNats } from "../../src/drivers/nats-connection.js";
import { openKeyValue } from "../../src/drivers/nats-key-value.js";
import { systemClock } from "../../src/drivers/system-clock.js";
import type { KeyValue } from "../../src/ports/key-value.js";
import type { Log } from "../../src/ports/log.js";
import {
  type AppRecord,
  appRecordVersion,
  encodeAppRecord,
} from "../../src/protocol/app-record.js";
import { encodeToken } from "../../src/protocol/tokens.js";
import { deleteKey } from "../support/delete-key.js";
import { startNats } from "../support/nats-server.js";
import { until } from "../support/until.js";

/** Notes what is told at `info` and above. */
function recordingLog(told: string[]): Log {
  const note = (event: string) => void told.push(event);
  return { debug: () => undefined, info: note, warn: note, error: note };
}

function recordOf(app: string): AppRecord {
  const secrets = [{ kid: "first", secret: "s".repeat(43) }];
  return { v: appRecordVersion, app, secrets, delivery: "each-device", createdAtMs: 0 };
}

async function register(apps: KeyValue, app: string): Promise<void> {
  assert.ok((await apps.create(encodeToken(app), encodeAppRecord(recordOf(app)))).ok);
}

describe("app directory", () => {
  // It listed and then watched: what was removed in between stayed registered.
  test("forgets an app that is removed while it begins to follow", async () => {
    class RemovedMeanwhile extends MemoryKeyValue {
      override async watch(...watched: Parameters<KeyValue["watch"]>) {
        await deleteKey(this, "gone");
        return super.watch(...watched);
      }
    }
    const apps = new RemovedMeanwhile(systemClock);
    await register(apps, "gone");
    await register(apps, "kept");
    const directory = await KvAppDirectory.follow(apps, recordingLog([]));
    await until("what is present is told", () => directory.find("kept"));
    assert.equal(directory.find("gone"), undefined);
  });

  test("follows what is registered, changed and removed, and says the removal", async () => {
    const told: string[] = [];
    const apps = new MemoryKeyValue(systemClock);
    const directory = await KvAppDirectory.follow(apps, recordingLog(told));
    await register(apps, "shop");
    const first = await until("it is registered", () => directory.find("shop"));
    assert.deepEqual(first, recordOf("shop"));
    const revision = (await apps.get("shop"))?.revision ?? 0;
    const changed = { ...first, secrets: [] };
    await apps.update("shop", encodeAppRecord(changed), revision);
    await until("the change is seen", () => directory.find("shop")?.secrets.length === 0);
    await deleteKey(apps, "shop");
    await until("it is gone", () => directory.find("shop") === undefined);
    assert.deepEqual(told, ["app removed"]);
  });

  test("finds an app by its name where the key is an encoded one", async () => {
    const apps = new MemoryKeyValue(systemClock);
    await register(apps, "my.shop");
    const directory = await KvAppDirectory.follow(apps, recordingLog([]));
    await until("it is found", () => directory.find("my.shop"));
    assert.equal(directory.find(encodeToken("my.shop")), undefined);
  });

  test("keeps what it knows of an app whose record is not readable", async () => {
    const told: string[] = [];
    const apps = new MemoryKeyValue(systemClock);
    await register(apps, "shop");
    const directory = await KvAppDirectory.follow(apps, recordingLog(told));
    await until("it is found", () => directory.find("shop"));
    const revision = (await apps.get("shop"))?.revision ?? 0;
    await apps.update("shop", new Uint8Array([1]), revision);
    await until("it is told", () => told.length > 0);
    assert.deepEqual(told, ["an app record is not readable"]);
    assert.deepEqual(directory.find("shop"), recordOf("shop"));
  });

  test("knows over NATS what is registered as soon as it follows, and what is removed", async () => {
    await using nats = await startNats();
    const { user, pass: password, inboxPrefix } = nats.credentials.node;
    const access = { url: nats.url, name: "test", user, password, inboxPrefix };
    const connection = await connectNats(access);
    const apps = await openKeyValue(connection, "apps");
    for (const app of ["kept", "gone", "gone.while.away"]) await register(apps, app);
    const directory = await KvAppDirectory.follow(apps, recordingLog([]));
    assert.deepEqual(directory.find("kept"), recordOf("kept"));
    await deleteKey(apps, "gone");
    await until("the removal is seen", () => directory.find("gone") === undefined);
    nats.kill("SIGKILL");
    await until("the loss is seen", () => !connection.isConnected);
    await nats.restart();
    const other = await connectNats(access);
    const otherApps = await openKeyValue(other, "apps");
    await deleteKey(otherApps, encodeToken("gone.while.away"));
    await until("this too", () => directory.find("gone.while.away") === undefined);
    assert.deepEqual(directory.find("kept"), recordOf("kept"));
    await register(otherApps, "new");
    await until("what comes later is followed", () => directory.find("new"));
    directory.close();
    await Promise.all([connection.close(), other.close()]);
  });
});
