/**
 * A child process that a bench asks things: one request at a time or several, each
 * with one answer. The child ends when its parent is gone, so that a bench that is
 * killed leaves nothing behind; the parent stops it by its pid.
 */
import { type ChildProcess, fork } from "node:child_process";
import { fileURLToPath } from "node:url";

interface Request {
  readonly bench: "request";
  readonly id: number;
  readonly name: string;
  readonly argument: unknown;
}

interface Response {
  readonly bench: "response";
  readonly id: number;
  readonly value?: unknown;
  readonly error?: string;
}

interface Waiting {
  resolve(value: unknown): void;
  reject(error: Error): void;
}

/** Asks over the channel of any forked process that serves requests. */
export class Asking {
  private readonly waiting = new Map<number, Waiting>();
  private lastId = 0;

  constructor(
    readonly name: string,
    readonly child: ChildProcess,
  ) {
    child.on("message", (message) => this.onMessage(message));
    child.once("exit", (code, signal) => this.onExit(code ?? signal));
  }

  get pid(): number {
    return this.child.pid ?? 0;
  }

  ask<Answer = void>(name: string, argument: unknown = null): Promise<Answer> {
    return new Promise<Answer>((resolve, reject) => {
      const id = ++this.lastId;
      this.waiting.set(id, { resolve: resolve as (value: unknown) => void, reject });
      const request: Request = { bench: "request", id, name, argument };
      this.child.send(request, (error) => {
        if (error !== null) this.take(id)?.reject(error);
      });
    });
  }

  private onMessage(message: unknown): void {
    if (!isOf<Response>(message, "response")) return;
    const waiting = this.take(message.id);
    if (message.error === undefined) waiting?.resolve(message.value);
    else waiting?.reject(new Error(`${this.name}: ${message.error}`));
  }

  private onExit(how: number | string | null): void {
    for (const { reject } of this.waiting.values())
      reject(new Error(`${this.name} ended (${how})`));
    this.waiting.clear();
  }

  private take(id: number): Waiting | undefined {
    const waiting = this.waiting.get(id);
    this.waiting.delete(id);
    return waiting;
  }
}

const stopGraceMs = 3_000;

export class WorkerProcess extends Asking implements AsyncDisposable {
  /** `program` is relative to dist/bench, such as "load/publisher.js". */
  static start(program: string, execArgv: readonly string[] = []): WorkerProcess {
    const file = fileURLToPath(new URL(`../${program}`, import.meta.url));
    const child = fork(file, [], {
      execArgv: ["--enable-source-maps", ...execArgv],
      // Values such as NaN and typed arrays survive, which JSON would lose.
      serialization: "advanced",
    });
    return new WorkerProcess(program, child);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    const gone = new Promise((resolve) => this.child.once("exit", resolve));
    const killing = setTimeout(() => this.child.kill("SIGKILL"), stopGraceMs);
    this.child.kill("SIGTERM");
    await gone;
    clearTimeout(killing);
  }
}

export type Handlers = Readonly<Record<string, (argument: never) => unknown>>;

/** In the child: answers each request by the handler of its name, until the parent is gone. */
export function serve(handlers: Handlers): void {
  answerRequests(handlers);
  process.once("disconnect", () => process.exit(0));
}

/** The same in a process that has a life of its own. */
export function answerRequests(handlers: Handlers): void {
  process.on("message", (message) => {
    if (isOf<Request>(message, "request")) void answer(message, handlers[message.name]);
  });
}

async function answer(
  { id, name, argument }: Request,
  handler: ((argument: never) => unknown) | undefined,
): Promise<void> {
  let response: Response;
  try {
    if (handler === undefined) throw new Error(`nobody serves ${name}`);
    response = { bench: "response", id, value: await handler(argument as never) };
  } catch (error) {
    response = { bench: "response", id, error: (error as Error).stack ?? String(error) };
  }
  process.send?.(response);
}

function isOf<Message extends { bench: string }>(
  message: unknown,
  kind: Message["bench"],
): message is Message {
  return typeof message === "object" && message !== null && "bench" in message
    ? message.bench === kind
    : false;
}
