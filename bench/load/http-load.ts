/** Clients of an HTTP server, as a process: so many kept sockets, each asking when it was answered. */
import { connect, type Socket } from "node:net";
import { serve } from "../harness/worker-process.js";

export interface HttpLoad {
  readonly port: number;
  /** `{}` in it stands for a number that is another one each time. */
  readonly path: string;
  readonly sockets: number;
  readonly forMs: number;
}

export interface HttpLoadResult {
  readonly answers: number;
  readonly others: number;
  readonly tookMs: number;
}

const headEnd = "\r\n\r\n";

async function run({ port, path, sockets, forMs }: HttpLoad): Promise<HttpLoadResult> {
  const startMs = performance.now();
  const all = Array.from({ length: sockets }, (_, at) => new Asker(port, path, at));
  await new Promise((resolve) => setTimeout(resolve, forMs));
  for (const asker of all) asker.stop();
  const sum = (of: (asker: Asker) => number) => all.reduce((total, each) => total + of(each), 0);
  const tookMs = performance.now() - startMs;
  return { answers: sum((each) => each.answers), others: sum((each) => each.others), tookMs };
}

class Asker {
  answers = 0;
  /** Of another status than 200. */
  others = 0;
  private readonly socket: Socket;
  private held = "";
  private number: number;

  constructor(
    port: number,
    private readonly path: string,
    at: number,
  ) {
    this.number = at * 1_000_000;
    this.socket = connect({ port, host: "127.0.0.1", noDelay: true });
    this.socket.setEncoding("latin1");
    this.socket.on("connect", () => this.ask());
    this.socket.on("data", (text: string) => this.onText(text));
    this.socket.on("error", () => undefined);
  }

  stop(): void {
    this.socket.destroy();
  }

  private ask(): void {
    const target = this.path.replace("{}", String(this.number++));
    this.socket.write(`GET ${target} HTTP/1.1\r\nHost: bench${headEnd}`);
  }

  private onText(text: string): void {
    this.held += text;
    const end = this.held.indexOf(headEnd);
    if (end < 0) return;
    const [, length = "0"] = /\r\ncontent-length: (\d+)/i.exec(this.held) ?? [];
    if (this.held.length < end + headEnd.length + Number(length)) return;
    if (this.held.startsWith("HTTP/1.1 200")) this.answers++;
    else this.others++;
    this.held = "";
    this.ask();
  }
}

serve({ run });
