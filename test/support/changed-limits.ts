/**
 * Nodes with other limits than the settings allow, for tests that wait for deadlines:
 * imported before the node's own program (NODE_OPTIONS).
 */
import { defaultLimits, type Limits } from "../../actors/limits.js";

const variable = "BELFRY_TEST_LIMITS";

/** For the environment of a node; `imports` are imported there beside. */
export function withLimits(limits: Partial<Limits>, imports: readonly string[] = []) {
  const all = [import.meta.url, ...imports].map((url) => `--import=${url}`);
  return { NODE_OPTIONS: all.join(" "), [variable]: JSON.stringify(limits) };
}

const given = process.env[variable];
if (given !== undefined) Object.assign(defaultLimits, JSON.parse(given));
