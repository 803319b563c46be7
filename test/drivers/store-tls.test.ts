/** TLS to both parts of the networked store: the server's certificate and name are checked. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { promisify } from "node:util";
import { MysqlConnection } from "../../src/drivers/mysql-connection.js";
import { sql } from "../../src/drivers/mysql-text.js";
import { RedisClient } from "../../src/drivers/redis-client.js";
import { startMariadb } from "../support/mariadb-server.js";
import { makeDatabase } from "../support/mysql-database.js";
import { freePorts } from "../support/nats-cluster.js";
import { startRedis } from "../support/redis-server.js";
import { until } from "../support/until.js";
import { faultOf } from "./store-samples.js";

let folder = "";
let ca = "";
let keyFile = "";
let certificateFile = "";

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "belfry-tls-"));
  keyFile = join(folder, "key.pem");
  certificateFile = join(folder, "certificate.pem");
  // For `localhost`, signed by itself.
  const made = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"];
  const named = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"];
  const files = ["-keyout", keyFile, "-out", certificateFile];
  await promisify(execFile)("openssl", [...made, ...named, ...files]);
  ca = await readFile(certificateFile, "utf8");
});
after(() => rm(folder, { recursive: true, force: true }));

test("mysql: speaks TLS to the server that was meant, and to no other", async () => {
  await using mariadb = await startMariadb([
    ...[`--ssl-cert=${certificateFile}`, `--ssl-key=${keyFile}`],
  ]);
  const place = await makeDatabase(mariadb.port);
  const tls = { ca, servername: "localhost" };
  const connection = await MysqlConnection.open({ ...place, host: "localhost", tls }, 10_000);
  const [rows] = await connection.run(sql`SHOW STATUS LIKE 'Ssl_cipher'`, 10_000);
  assert.match(String(rows?.[0]?.[1]), /^TLS_|AES/);
  await connection.end(1_000);
  const unknown = { servername: "localhost" };
  const wrongName = { ca, servername: "elsewhere" };
  for (const wrong of [unknown, wrongName]) {
    const opening = MysqlConnection.open({ ...place, host: "localhost", tls: wrong }, 10_000);
    assert.match((await faultOf(opening)).message, /certificate|altnames/i);
  }
});

test("redis: speaks TLS to the server that was meant, and to no other", async () => {
  const files = ["--tls-cert-file", certificateFile, "--tls-key-file", keyFile];
  await using redis = await startRedis([...files, "--tls-auth-clients", "no"]);
  // The plain port stays for the fixture; TLS is on one beside it.
  const [tlsPort = 0] = await freePorts(1);
  const { sendRedis } = await import("../support/redis-command.js");
  assert.equal(await sendRedis(redis.port, `CONFIG SET tls-port ${tlsPort}`), "+OK");
  const problems: string[] = [];
  const at = (tls: { ca?: string; servername: string }) =>
    new RedisClient({ host: "localhost", port: tlsPort, tls }, (said) => problems.push(said));
  const right = at({ ca, servername: "localhost" });
  await until("Redis is connected", () => right.isReady);
  for (const wrong of [{ servername: "localhost" }, { ca, servername: "elsewhere" }]) {
    problems.length = 0;
    const client = at(wrong);
    await until("it is refused", () => problems.some((said) => /certificate|altnames/i.test(said)));
    assert.equal(client.isReady, false);
    client.close();
  }
  right.close();
});
