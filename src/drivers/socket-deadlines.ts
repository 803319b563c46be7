/**
 * One deadline for many sockets, such as that of all closes: since it is the same length
 * for all, they are due in the order in which they came, and one timer serves them.
 * A socket without one under way costs nothing. Where there may be only so many, who
 * has waited longest gives way: an honest peer is done long before its deadline.
 */
import type { Socket } from "node:net";

export class SocketDeadlines {
  private readonly dueMs = new Map<Socket, number>();
  private timer: NodeJS.Timeout | undefined;

  private overdue = 0;
  private displaced = 0;

  constructor(
    private readonly lengthMs: number,
    private readonly onDue: (socket: Socket) => void,
    private readonly socketsMax: () => number = () => Number.POSITIVE_INFINITY,
  ) {}

  /** How many came to their deadline, and how many had to give way before. */
  get ended(): { readonly overdue: number; readonly displaced: number } {
    return { overdue: this.overdue, displaced: this.displaced };
  }

  get size(): number {
    return this.dueMs.size;
  }

  /** A socket that has one keeps it. */
  start(socket: Socket): void {
    if (this.dueMs.has(socket)) return;
    if (this.dueMs.size >= this.socketsMax()) this.displace();
    this.dueMs.set(socket, performance.now() + this.lengthMs);
    this.timer ??= this.wake(this.lengthMs);
  }

  end(socket: Socket): void {
    this.dueMs.delete(socket);
  }

  private displace(): void {
    for (const oldest of this.dueMs.keys()) {
      this.displaced++;
      this.dueMs.delete(oldest);
      this.onDue(oldest);
      return;
    }
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
      this.overdue++;
      this.dueMs.delete(socket);
      this.onDue(socket);
    }
  };
}
