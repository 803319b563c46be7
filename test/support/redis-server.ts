/**
 * A disposable Redis without persistence, as a cache is run.
 *
 *   await using redis = await startRedis();
 */
import { createConnection } from "node:net";
import { findProgram, ServerProcess } from "./server-process.js";

export async function startRedis(more: readonly string[] = []): Promise<ServerProcess> {
  return ServerProcess.start({
    name: "redis",
    program: await findProgram("ensure-redis.mjs"),
    isReady: answersPing,
    arguments: (folder, port) => [
      ...["--port", String(port), "--bind", "127.0.0.1", "--dir", folder],
      ...["--save", "", "--appendonly", "no"],
      ...more,
    ],
  });
}

function answersPing(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createConnection({ host: "127.0.0.1", port }, () => socket.write("PING\r\n"));
    const end = (answer: boolean) => {
      socket.destroy();
      resolve(answer);
    };
    socket.once("data", (bytes) => end(/^(\+PONG|-NOAUTH)/.test(bytes.toString("latin1"))));
    socket.once("error", () => end(false));
    socket.setTimeout(1_000, () => end(false));
  });
}
