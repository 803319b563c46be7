/**
 * A disposable Redis without persistence, as a cache is run.
 *
 *   await using redis = await startRedis();
 */
import { planRedis } from "../../src/main/setup/private-redis.js";
import { findProgram } from "../../src/main/setup/private-server.js";
import { ServerProcess } from "./server-process.js";

export async function startRedis(more: readonly string[] = []): Promise<ServerProcess> {
  return ServerProcess.start(planRedis(await findProgram("ensure-redis.mjs"), more));
}
