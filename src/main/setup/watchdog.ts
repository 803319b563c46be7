/**
 * A child process that ends when this one is gone, however it went: `read` returns when the
 * last writer of the pipe is gone, and that is this process.
 */
import { type ChildProcess, spawn } from "node:child_process";

/** `command`: for the shell, what ends the child. */
export function endWithThisProcess(child: ChildProcess, command: string): void {
  const watchdog = spawn("/bin/sh", ["-c", `read -r _; ${command}`], {
    stdio: ["pipe", "ignore", "ignore"],
    detached: true,
  });
  // Killed before the child's pid can be given to another process.
  child.once("exit", () => watchdog.kill("SIGKILL"));
  watchdog.once("error", () => undefined);
  watchdog.stdin.once("error", () => undefined);
  // Neither keeps this process alive: a test that forgets to stop still ends.
  (watchdog.stdin as unknown as { unref(): void }).unref();
  watchdog.unref();
  child.unref();
}
