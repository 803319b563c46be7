/** What a node takes as settings, and what follows from them. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { leaseLimits } from "../../src/main/lease-limits.js";
import { BadSettings, readSettings } from "../../src/main/settings.js";

const required = { BELFRY_NATS_URL: "nats://127.0.0.1:4222", BELFRY_DATA_FOLDER: "/data" };
const read = (environment: Readonly<Record<string, string>>, flags: readonly string[] = []) =>
  readSettings({ ...required, ...environment }, flags);

describe("settings", () => {
  test("replicas and lease are left to the server that there is", () => {
    const settings = read({});
    assert.equal(settings.kvReplicas, undefined);
    assert.deepEqual(leaseLimits(settings, false), { leaseMs: 3_000, leaseMarginMs: 1_000 });
    assert.deepEqual(leaseLimits(settings, true), { leaseMs: 15_000, leaseMarginMs: 3_000 });
  });

  test("what is set wins, flags over the environment", () => {
    const settings = read({ BELFRY_LEASE_MS: "6000", BELFRY_KV_REPLICAS: "1" }, [
      "--kv-replicas=3",
    ]);
    assert.equal(settings.kvReplicas, 3);
    assert.deepEqual(leaseLimits(settings, true), { leaseMs: 6_000, leaseMarginMs: 2_000 });
    assert.deepEqual(leaseLimits(settings, false), { leaseMs: 6_000, leaseMarginMs: 2_000 });
  });

  test("one NATS server or several are taken, with or without a scheme", () => {
    for (const url of ["127.0.0.1:4222", "nats://a:4222,nats://b:4222", "a, b:4223 ,tls://c"]) {
      assert.equal(read({ BELFRY_NATS_URL: url }).natsUrl, url);
    }
  });

  const wrong: readonly (readonly [string, string, RegExp])[] = [
    ["BELFRY_NATS_URL", "nats://a:4222,", /is NATS servers, with commas between/],
    ["BELFRY_NATS_URL", "nats://a b:4222", /is NATS servers, with commas between/],
    ["BELFRY_NATS_URL", "nats://a:port", /is NATS servers, with commas between/],
    ["BELFRY_NATS_URL", "nats://user:secret@a:4222", /BELFRY_NATS_USER/],
    ["BELFRY_KV_REPLICAS", "2", /kvReplicas \(BELFRY_KV_REPLICAS\): is 1, 3 or 5/],
    ["BELFRY_KV_REPLICAS", "three", /kvReplicas/],
    ["BELFRY_LEASE_MS", "999", /leaseMs \(BELFRY_LEASE_MS\)/],
    ["BELFRY_LEASE_MS", "3s", /leaseMs/],
    ["BELFRY_LEASE_MS", "600001", /leaseMs/],
  ];
  for (const [name, value, said] of wrong) {
    test(`${name}=${value} is refused by name`, () => {
      assert.throws(
        () => read({ [name]: value }),
        (error) => error instanceof BadSettings && said.test(error.message),
      );
    });
  }
});
