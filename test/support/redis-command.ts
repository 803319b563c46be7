/** One command to a test's Redis, past every client library. */
import { createConnection } from "node:net";

/** Resolves to the raw answer, such as "+OK". Words hold no spaces. */
export function sendRedis(port: number, command: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = createConnection({ host: "127.0.0.1", port }, () => {
      socket.write(`${command}\r\n`);
    });
    socket.once("error", reject);
    socket.once("data", (bytes) => {
      socket.destroy();
      resolve(bytes.toString("latin1").trim());
    });
  });
}
