/**
 * One deadline for many sockets, such as that of all closes: since it is the same length
 * for all, they are due in the order in which they came, and one timer serves them.
 * A socket without one under way costs nothing.
 */
import type { Socket } from "node:net";

export class SocketDeadlines {
  private readonly dueMs = new Map<Socket, number>();
  private timer: NodeJS.Timeout | undefined;

  constructor(
    private readonly lengthMs: number,
    private readonly onDue: (socket: Socket) => void,
  ) {}

  /** A socket that has one keeps it. */
  start(socket: Socket): void {
    if (this.dueMs.has(socket)) return;
    this.dueMs.set(socket, performance.now() + this.lengthMs);
    this.timer ??= this.wake(this.lengthMs);
  }

  end(socket: Socket): void {
    this.dueMs.delete(socket);
  }

  private wake(delayMs: number): NodeJS.Timeout {
    return setTimeout(this.fire, delayMs).unref();
  }

  private readonly fire = (): void => {
    this.timer = undefined;
    const nowMs = performance.now();
    for (const [socket, dueMs] of this.dueMs) {
      if (dueMs > nowMs) {
        this.timer ??= this.wake(dueMs - nowMs);
        return;
      }
      this.dueMs.delete(socket);
      this.onDue(socket);
    }
  };
}
