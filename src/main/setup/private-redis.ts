/** A Redis of Belfry's own, without persistence: it is the fast reader, MySQL the truth. */
import { createConnection } from "node:net";
import type { ServerPlan } from "./private-server.js";

/** `secrets`: a configuration file, for what arguments would show to every user of the machine. */
export function planRedis(
  program: string,
  more: readonly string[] = [],
  secrets?: string,
): ServerPlan {
  return {
    name: "redis",
    program,
    isReady: answersPing,
    arguments: (folder, port) => [
      ...(secrets === undefined ? [] : [secrets]),
      ...["--port", String(port), "--bind", "127.0.0.1", "--dir", folder],
      ...["--save", "", "--appendonly", "no"],
      ...more,
    ],
  };
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
