/** A connect webhook on a free port that does as a test says, and notes what it was asked. */
import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo, Socket } from "node:net";

export interface WebhookRequest {
  readonly headers: IncomingMessage["headers"];
  /** As it came: what the signature is over. */
  readonly text: string;
  readonly body: Readonly<Record<string, unknown>>;
}

export type WebhookAnswer = (response: ServerResponse, request: WebhookRequest) => void;

export class FakeWebhook implements AsyncDisposable {
  readonly requests: WebhookRequest[] = [];
  private readonly sockets = new Set<Socket>();
  /** How many sockets came. */
  connects = 0;
  answer: WebhookAnswer = says({ sub: "alice" });
  private readonly server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("error", () => undefined);
    request.on("end", () => {
      const text = Buffer.concat(chunks).toString();
      const asked = { headers: request.headers, text, body: JSON.parse(text) };
      this.requests.push(asked);
      this.answer(response, asked);
    });
  });

  private constructor() {
    this.server.on("connection", (socket) => {
      this.connects++;
      this.sockets.add(socket);
      socket.on("close", () => this.sockets.delete(socket));
    });
  }

  static async start(port = 0): Promise<FakeWebhook> {
    const webhook = new FakeWebhook();
    await webhook.listen(port);
    return webhook;
  }

  async listen(port: number): Promise<void> {
    this.server.listen(port, "127.0.0.1");
    await once(this.server, "listening");
    this.port = port === 0 ? (this.server.address() as AddressInfo).port : port;
  }

  port = 0;

  get url(): string {
    return `http://127.0.0.1:${this.port}/connect`;
  }

  get openSockets(): number {
    return this.sockets.size;
  }

  /** Cuts everybody who is connected. */
  cut(): void {
    for (const socket of this.sockets) socket.resetAndDestroy();
  }

  /** Nobody is there any more; `listen` brings it back. */
  async stop(): Promise<void> {
    this.cut();
    if (!this.server.listening) return;
    this.server.close();
    await once(this.server, "close");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }
}

/** `value` as JSON; a text as it is. */
export function says(value: unknown, status = 200, headers: Record<string, string> = {}) {
  return (response: ServerResponse): void => {
    response.writeHead(status, { "content-type": "application/json", ...headers });
    response.end(typeof value === "string" ? value : JSON.stringify(value));
  };
}
