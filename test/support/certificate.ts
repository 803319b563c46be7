/** A certificate of a day for the loopback addresses, signed by itself. */
import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";

export interface Certificate {
  readonly certFile: string;
  readonly keyFile: string;
  readonly cert: string;
  readonly key: string;
}

export async function makeCertificate(folder: string, name = "edge"): Promise<Certificate> {
  const keyFile = join(folder, `${name}-key.pem`);
  const certFile = join(folder, `${name}-cert.pem`);
  const made = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"];
  const named = ["-nodes", "-days", "1", "-subj", `/CN=${name}`];
  const san = ["-addext", "subjectAltName=IP:127.0.0.1,IP:::1"];
  await promisify(execFile)("openssl", [
    ...[...made, ...named, ...san],
    ...["-keyout", keyFile, "-out", certFile],
  ]);
  const [key, cert] = await Promise.all([readFile(keyFile, "utf8"), readFile(certFile, "utf8")]);
  return { certFile, keyFile, cert, key };
}
