/** The certificate that new handshakes get while its files are renewed under way. */
import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { once } from "node:events";
import { copyFile, rename, writeFile } from "node:fs/promises";
import { createServer, type Server } from "node:https";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { describe, test } from "node:test";
import { connect } from "node:tls";
import { BadSettings } from "../../src/main/settings.js";
import { followTlsFiles, readTlsPair } from "../../src/main/tls-files.js";
import type { Log } from "../../src/ports/log.js";
import { makeCertificate } from "../support/certificate.js";
import { Scratch } from "../support/scratch.js";
import { until } from "../support/until.js";

async function presented(server: Server): Promise<string> {
  const { port } = server.address() as AddressInfo;
  const socket = connect({ port, host: "127.0.0.1", rejectUnauthorized: false });
  await once(socket, "secureConnect");
  const { fingerprint256 } = socket.getPeerCertificate();
  socket.destroy();
  return fingerprint256;
}

/** In one step: a file that is half copied is another one that does not read. */
async function replace(file: string, by: string): Promise<void> {
  await copyFile(by, `${file}.next`);
  await rename(`${file}.next`, file);
}

const fingerprint = (cert: string) => new X509Certificate(cert).fingerprint256;

describe("a certificate's files", () => {
  test("are a certificate and its own key", async () => {
    await using scratch = await Scratch.create("tls-files");
    const [one, other] = [
      await makeCertificate(scratch.folder, "one"),
      await makeCertificate(scratch.folder, "other"),
    ];
    assert.deepEqual(readTlsPair(one), { cert: one.cert, key: one.key });
    const noise = join(scratch.folder, "noise.pem");
    await writeFile(noise, "noise");
    for (const files of [
      { ...one, keyFile: other.keyFile },
      { ...one, certFile: noise },
      { ...one, keyFile: noise },
      { ...one, keyFile: join(scratch.folder, "nothing.pem") },
    ]) {
      assert.throws(() => readTlsPair(files), BadSettings);
    }
  });

  test("are followed: a new pair goes to the next handshakes, half of one to none", async () => {
    await using scratch = await Scratch.create("tls-files");
    const used = await makeCertificate(scratch.folder, "used");
    const next = await makeCertificate(scratch.folder, "next");
    const server = createServer({ cert: used.cert, key: used.key });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    const told: string[] = [];
    const note = (event: string) => void told.push(event);
    const log: Log = { debug: note, info: note, warn: note, error: note };
    const stop = followTlsFiles(server, used, log, 20);
    assert.equal(await presented(server), fingerprint(used.cert));

    await replace(used.certFile, next.certFile);
    await until("half of it is told", () => told.includes("certificate not replaced"));
    assert.equal(await presented(server), fingerprint(used.cert));
    await replace(used.keyFile, next.keyFile);
    await until("all of it is used", async () => {
      return (await presented(server)) === fingerprint(next.cert);
    });
    const replaced = ["certificate", "certificate not replaced", "certificate replaced"];
    assert.deepEqual(told, replaced, "each told once");
    stop();
    server.close();
  });
});
