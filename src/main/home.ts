/** Where a checkout keeps what runs and what it stored: `.belfry/`, or BELFRY_HOME. */
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

/** This file runs as dist/src/main/home.js. */
const projectRoot = fileURLToPath(new URL("../../../", import.meta.url));

export function belfryHome(environment: Readonly<Record<string, string | undefined>>): string {
  return resolve(environment["BELFRY_HOME"] ?? join(projectRoot, ".belfry"));
}
