/** What a node takes as settings, and what follows from them. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { edgeAccess, edgeLimits, tlsFiles } from "../../src/main/edge-settings.js";
import { leaseLimits } from "../../src/main/lease-limits.js";
import { BadSettings, readSettings } from "../../src/main/settings.js";

const required = { BELFRY_NATS_URL: "nats://127.0.0.1:4222", BELFRY_DATA_FOLDER: "/data" };
const read = (environment: Readonly<Record<string, string>>, flags: readonly string[] = []) =>
  readSettings({ ...required, ...environment }, flags);

/** Nobody counts as away before the lease of a node that hangs has run out. */
function limitsOf(leaseMs: number, leaseMarginMs: number) {
  return { leaseMs, leaseMarginMs, presenceGraceMs: leaseMs + leaseMarginMs + 6_000 };
}

describe("settings", () => {
  test("replicas and lease are left to the server that there is", () => {
    const settings = read({});
    assert.equal(settings.kvReplicas, undefined);
    assert.deepEqual(leaseLimits(settings, false), limitsOf(3_000, 1_000));
    assert.deepEqual(leaseLimits(settings, true), limitsOf(15_000, 3_000));
  });

  test("what is set wins, flags over the environment", () => {
    const settings = read({ BELFRY_LEASE_MS: "6000", BELFRY_KV_REPLICAS: "1" }, [
      "--kv-replicas=3",
    ]);
    assert.equal(settings.kvReplicas, 3);
    assert.deepEqual(leaseLimits(settings, true), limitsOf(6_000, 2_000));
    assert.deepEqual(leaseLimits(settings, false), limitsOf(6_000, 2_000));
  });

  test("the journal is on unless it is told otherwise", () => {
    assert.deepEqual([read({}).journal, read({}).journalBytes], ["on", 2 ** 30]);
    for (const journal of ["on", "off", "sample 1", "sample 64"]) {
      assert.equal(read({ BELFRY_JOURNAL: journal }).journal, journal);
    }
  });

  test("heartbeats are bounded as set, and lost in proportion", () => {
    const settings = read({
      ...{ BELFRY_HEARTBEAT_MS: "20000", BELFRY_HEARTBEAT_WIFI_MS: "90000" },
      ...{ BELFRY_HEARTBEAT_MIN_MS: "5000", BELFRY_HEARTBEAT_MAX_MS: "600000" },
    });
    assert.deepEqual(edgeLimits(settings), {
      ...{ heartbeatMs: 20_000, heartbeatDeadlineMs: 50_000, heartbeatWifiMs: 90_000 },
      ...{ heartbeatMinMs: 5_000, heartbeatMaxMs: 600_000 },
    });
    assert.throws(() => read({ BELFRY_HEARTBEAT_MS: "999" }), BadSettings);
    assert.throws(() => read({ BELFRY_HEARTBEAT_MAX_MS: "3600001" }), BadSettings);
    // Above the longest that holds unless it is set.
    assert.throws(() => read({ BELFRY_HEARTBEAT_MIN_MS: "900000" }), /HEARTBEAT_MIN_MS/);
  });

  test("the edge's settings become its limits and whom it lets in", () => {
    assert.deepEqual(
      [edgeLimits(read({})), edgeAccess(read({})), tlsFiles(read({}))],
      [{}, {}, undefined],
    );
    const settings = read({
      ...{ BELFRY_CONNECTIONS_MAX: "500", BELFRY_ACCEPTS_PER_SECOND: "50" },
      BELFRY_ACCEPT_WAIT_MS: "2500",
      ...{ BELFRY_HANDSHAKE_DEADLINE_MS: "2000", BELFRY_CONNECTIONS_PER_ADDRESS: "9" },
      ...{ BELFRY_DENY: "10.0.0.0/8, 2001:db8::/32", BELFRY_TRUSTED_PROXIES: "::1" },
      BELFRY_ORIGINS: "https://App.example.com, http://localhost:8080",
      ...{ BELFRY_TLS_CERT_FILE: "cert.pem", BELFRY_TLS_KEY_FILE: "key.pem" },
    });
    assert.deepEqual(edgeLimits(settings), {
      ...{ connectionsMax: 500, handshakeDeadlineMs: 2_000 },
      ...{ acceptsPerSecond: 50, acceptsBurst: 5, acceptWaitMsMax: 2_500 },
    });
    const { deny, allow, trusted, origins, connectionsPerAddressMax } = edgeAccess(settings);
    assert.deepEqual(
      [deny?.has("10.1.2.3"), deny?.has("192.0.2.1"), allow],
      [true, false, undefined],
    );
    assert.deepEqual([trusted?.has("::1"), connectionsPerAddressMax], [true, 9]);
    assert.deepEqual([...(origins ?? [])], ["https://app.example.com", "http://localhost:8080"]);
    assert.deepEqual(tlsFiles(settings), { certFile: "cert.pem", keyFile: "key.pem" });
  });

  test("one NATS server or several are taken, with or without a scheme", () => {
    for (const url of ["127.0.0.1:4222", "nats://a:4222,nats://b:4222", "a, b:4223 ,tls://c"]) {
      assert.equal(read({ BELFRY_NATS_URL: url }).natsUrl, url);
    }
  });

  test("an edge has one address for clients or several", () => {
    const several = "wss://push.example.com/connect, ws://[::1]:8080/connect";
    assert.deepEqual(read({ BELFRY_EDGE_URL: several }).edgeUrl, several.split(", "));
  });

  const wrong: readonly (readonly [string, string, RegExp])[] = [
    ["BELFRY_NATS_URL", "nats://a:4222,", /is NATS servers, with commas between/],
    ["BELFRY_NATS_URL", "nats://a b:4222", /is NATS servers, with commas between/],
    ["BELFRY_NATS_URL", "nats://a:port", /is NATS servers, with commas between/],
    ["BELFRY_NATS_URL", "nats://user:secret@a:4222", /BELFRY_NATS_USER/],
    ["BELFRY_KV_REPLICAS", "2", /kvReplicas \(BELFRY_KV_REPLICAS\): is 1, 3 or 5/],
    ["BELFRY_KV_REPLICAS", "three", /kvReplicas/],
    ["BELFRY_LEASE_MS", "1999", /leaseMs \(BELFRY_LEASE_MS\)/],
    ["BELFRY_LEASE_MS", "3s", /leaseMs/],
    ["BELFRY_LEASE_MS", "600001", /leaseMs/],
    ["BELFRY_EDGE_URL", "https://a/connect", /is ws:\/\/ or wss:\/\/ URLs/],
    ["BELFRY_EDGE_URL", "ws://a,ws://::1:80/", /is ws:\/\/ or wss:\/\/ URLs/],
    ["BELFRY_EDGE_URL", Array(9).fill("ws://a").join(), /at most 8/],
    ["BELFRY_JOURNAL", "sample", /journal \(BELFRY_JOURNAL\): is on, off, or sample/],
    ["BELFRY_JOURNAL", "sample 65", /journal/],
    ["BELFRY_JOURNAL", "sample 0", /journal/],
    ["BELFRY_JOURNAL_BYTES", "1000", /journalBytes/],
    ["BELFRY_CONNECTIONS_MAX", "0", /connectionsMax/],
    ["BELFRY_ACCEPTS_PER_SECOND", "0.5", /acceptsPerSecond/],
    ["BELFRY_ACCEPT_WAIT_MS", "10001", /acceptWaitMs/],
    ["BELFRY_HANDSHAKE_DEADLINE_MS", "99", /handshakeDeadlineMs/],
    ["BELFRY_DENY", "10.0.0.0/33", /deny \(BELFRY_DENY\): is addresses, or address\/bits/],
    ["BELFRY_ALLOW", "localhost", /allow/],
    ["BELFRY_ORIGINS", "https://app.example.com/", /origins/],
    ["BELFRY_ORIGINS", "app.example.com", /origins/],
    ["BELFRY_TRUSTED_PROXIES", "10.0.0.1 10.0.0.2", /trustedProxies/],
    ["BELFRY_PROXY_PROTOCOL", "true", /needs trustedProxies \(BELFRY_TRUSTED_PROXIES\)/],
    ["BELFRY_TLS_CERT_FILE", "cert.pem", /both or none/],
    ["BELFRY_TLS_KEY_FILE", "key.pem", /both or none/],
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
