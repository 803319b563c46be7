/**
 * The network between one node and NATS, to be cut: a TCP proxy on 127.0.0.1.
 *
 *   await using proxy = await startTcpProxy(nats.port);
 *   proxy.cut("both");       nothing passes any more, nobody is told: a black hole
 *   proxy.heal();            what was held passes, as TCP would send it again
 *
 * While a direction is cut its bytes are held, in the sender's buffers when there are
 * many, and new connections are taken and held, too. `reset` ends all connections at once.
 */
import { connect, createServer, type Server, type Socket } from "node:net";
import { setTimeout as delay } from "node:timers/promises";

/** From the node to NATS, from NATS to the node, or both. */
export type Direction = "out" | "in" | "both";

export class TcpProxy implements AsyncDisposable {
  private readonly pairs = new Set<{ readonly out: Lane; readonly in: Lane }>();
  private isCut = { out: false, in: false };
  private delayMs = 0;
  /** Connections taken so far. */
  taken = 0;

  private constructor(
    private readonly server: Server,
    private readonly target: number,
    readonly port: number,
  ) {}

  static async start(target: number): Promise<TcpProxy> {
    // A peer that ends its side may still be owed what was held for it.
    const server = createServer({ allowHalfOpen: true });
    const port = await new Promise<number>((resolve, reject) => {
      server.once("error", reject);
      server.listen(0, "127.0.0.1", () => {
        const address = server.address();
        resolve(typeof address === "object" && address !== null ? address.port : 0);
      });
    });
    const proxy = new TcpProxy(server, target, port);
    server.on("connection", (near) => proxy.take(near));
    return proxy;
  }

  get url(): string {
    return `nats://127.0.0.1:${this.port}`;
  }

  cut(direction: Direction): void {
    if (direction !== "in") this.isCut.out = true;
    if (direction !== "out") this.isCut.in = true;
    this.apply();
  }

  heal(): void {
    this.isCut = { out: false, in: false };
    this.apply();
  }

  /** Each chunk of both directions is late by so much. */
  slow(delayMs: number): void {
    this.delayMs = delayMs;
  }

  reset(): void {
    for (const pair of this.pairs) {
      pair.out.from.resetAndDestroy();
      pair.in.from.resetAndDestroy();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = new Promise((done) => this.server.close(done));
    this.reset();
    await closed;
  }

  private take(near: Socket): void {
    this.taken++;
    const far = connect({ host: "127.0.0.1", port: this.target, allowHalfOpen: true });
    const delayMs = () => this.delayMs;
    const pair = { out: new Lane(near, far, delayMs), in: new Lane(far, near, delayMs) };
    this.pairs.add(pair);
    for (const socket of [near, far]) {
      socket.setNoDelay(true);
      socket.once("error", () => socket.destroy());
      socket.once("close", () => {
        if (near.destroyed && far.destroyed) this.pairs.delete(pair);
      });
    }
    pair.out.start();
    pair.in.start();
    this.apply();
  }

  private apply(): void {
    for (const pair of this.pairs) {
      pair.out.cut(this.isCut.out);
      pair.in.cut(this.isCut.in);
    }
  }
}

/** One direction of one connection: in order, and backpressure goes back to the sender. */
class Lane {
  private isCut = false;
  private isFull = false;
  private isOver = false;
  private last: Promise<void> = Promise.resolve();
  /** Chunks that are late. */
  private underway = 0;

  constructor(
    readonly from: Socket,
    private readonly to: Socket,
    private readonly delayMs: () => number,
  ) {}

  start(): void {
    this.from.on("data", (chunk) => this.pass(() => this.write(chunk)));
    this.from.on("close", () => this.finish());
    this.from.on("end", () => this.finish());
    this.to.on("drain", () => {
      this.isFull = false;
      this.flow();
    });
  }

  cut(isCut: boolean): void {
    this.isCut = isCut;
    this.flow();
    if (this.isOver) this.finish();
  }

  /** Who is cut off does not hear of the end either, before it is healed. */
  private finish(): void {
    this.isOver = true;
    if (!this.isCut) this.pass(() => void this.to.end());
  }

  private pass(step: () => void): void {
    const delayMs = this.delayMs();
    if (delayMs === 0 && this.underway === 0) {
      step();
      return;
    }
    // From when it came, not from the one before it; and in order, also when the delay ends.
    const dueMs = performance.now() + delayMs;
    this.underway++;
    this.last = this.last
      .then(() => delay(Math.max(0, dueMs - performance.now())))
      .then(() => {
        this.underway--;
        step();
      });
  }

  private write(chunk: Buffer): void {
    if (this.to.destroyed || this.to.write(chunk)) return;
    this.isFull = true;
    this.flow();
  }

  private flow(): void {
    if (this.isCut || this.isFull) this.from.pause();
    else this.from.resume();
  }
}

export function startTcpProxy(target: number): Promise<TcpProxy> {
  return TcpProxy.start(target);
}
