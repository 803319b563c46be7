/**
 * The edge's certificate, from files that somebody else renews: read again every so often,
 * and what reads as a pair is what the next handshakes get. A pair that does not, such as
 * one that is just being written, changes nothing and is told once.
 */
import { X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import { createSecureContext, type Server } from "node:tls";
import type { Log } from "../ports/log.js";
import type { TlsFiles } from "./edge-settings.js";
import { BadSettings } from "./settings.js";

export interface TlsPair {
  readonly cert: string;
  readonly key: string;
}

const lookEveryMs = 10_000;

/** Throws BadSettings for what is no certificate with its key. */
export function readTlsPair({ certFile, keyFile }: TlsFiles): TlsPair {
  try {
    const pair = { cert: readFileSync(certFile, "utf8"), key: readFileSync(keyFile, "utf8") };
    // Throws unless the key is the certificate's.
    createSecureContext(pair);
    return pair;
  } catch (error) {
    throw new BadSettings(`no certificate with its key: ${(error as Error).message}`);
  }
}

/** Returns the way to stop. */
export function followTlsFiles(
  server: Server,
  files: TlsFiles,
  log: Log,
  everyMs = lookEveryMs,
): () => void {
  let used = readTlsPair(files);
  let lastError = "";
  log.info("certificate", { validTo: validTo(used) });
  const look = () => {
    try {
      const pair = readTlsPair(files);
      lastError = "";
      if (pair.cert === used.cert && pair.key === used.key) return;
      server.setSecureContext(pair);
      used = pair;
      log.info("certificate replaced", { validTo: validTo(pair) });
    } catch (error) {
      const { message } = error as Error;
      if (message !== lastError) log.error("certificate not replaced", { error: message });
      lastError = message;
    }
  };
  const timer = setInterval(look, everyMs).unref();
  return () => clearInterval(timer);
}

function validTo({ cert }: TlsPair): string {
  return new X509Certificate(cert).validTo;
}
