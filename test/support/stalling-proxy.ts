/**
 * A way to a server on which what clients send can be held back, as when a client is
 * paused in the middle of what it was saying. What the server sends passes.
 */
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";

export class StallingProxy implements AsyncDisposable {
  private readonly sockets = new Set<Socket>();
  private held: (() => void)[] | undefined;
  private leftBytes = Number.POSITIVE_INFINITY;

  private constructor(
    private readonly server: Server,
    readonly port: number,
  ) {}

  static async start(targetPort: number): Promise<StallingProxy> {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const proxy = new StallingProxy(server, (server.address() as AddressInfo).port);
    server.on("connection", (client) => proxy.join(client, targetPort));
    return proxy;
  }

  /** Passes `bytes` more from clients, all together, and holds what follows. */
  holdAfter(bytes: number): void {
    this.leftBytes = bytes;
  }

  get isHolding(): boolean {
    return this.held !== undefined;
  }

  release(): void {
    this.leftBytes = Number.POSITIVE_INFINITY;
    const { held = [] } = this;
    this.held = undefined;
    for (const pass of held) pass();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.sockets) socket.destroy();
    await new Promise((resolve) => this.server.close(resolve));
  }

  private join(client: Socket, targetPort: number): void {
    const target = connect(targetPort, "127.0.0.1");
    for (const socket of [client, target]) {
      this.sockets.add(socket);
      socket.on("error", () => undefined);
    }
    // A client that is gone does not take back what it had sent.
    client.on("close", () => this.pass(() => target.end()));
    target.on("close", () => client.destroy());
    target.on("data", (bytes) => client.write(bytes));
    client.on("data", (bytes) => {
      const passing = bytes.subarray(0, this.held === undefined ? this.leftBytes : 0);
      const held = bytes.subarray(passing.length);
      if (passing.length > 0) target.write(passing);
      this.leftBytes -= passing.length;
      if (held.length === 0) return;
      this.held ??= [];
      this.pass(() => target.write(held));
    });
  }

  private pass(send: () => void): void {
    if (this.held === undefined) send();
    else this.held.push(send);
  }
}
