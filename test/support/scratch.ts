/**
 * A folder for one test and the programs that it starts there: both are gone when
 * the test ends, however it ends.
 *
 *   await using scratch = await Scratch.create("run");
 *   const program = scratch.start(process.execPath, ["run.js"]);
 */
import { type ChildProcess, spawn } from "node:child_process";
import { rmSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { until } from "./until.js";

export interface ProgramOptions {
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** Where it stands; the scratch folder unless given. */
  readonly cwd?: string;
}

/** A started program and all that it said so far. */
export class Program {
  out = "";
  err = "";
  /** The exit code, or the signal that ended it; undefined while it runs. */
  end: number | NodeJS.Signals | undefined = undefined;

  constructor(readonly child: ChildProcess) {
    child.stdout?.setEncoding("utf8").on("data", (text: string) => {
      this.out += text;
    });
    child.stderr?.setEncoding("utf8").on("data", (text: string) => {
      this.err += text;
    });
    child.once("error", (error) => {
      this.err += error.message;
      this.end = 127;
    });
    // `close` comes after the last of its output, `exit` may come before.
    child.once("close", (code, signal) => {
      this.end ??= code ?? signal ?? 127;
    });
  }

  get pid(): number {
    return this.child.pid ?? 0;
  }

  /**
   * Resolves to the match in its output or in its errors; throws at once when it ended
   * without saying it.
   */
  async says(wanted: RegExp, deadlineMs?: number): Promise<RegExpExecArray> {
    return until(
      `the program says ${wanted}`,
      () => {
        const found = wanted.exec(this.out) ?? wanted.exec(this.err);
        if (found === null && this.end !== undefined) throw new Error(`it ended: ${this.told()}`);
        return found;
      },
      deadlineMs,
    );
  }

  async ends(deadlineMs?: number): Promise<number | NodeJS.Signals> {
    return (
      await until(
        `the program ends: ${this.child.spawnargs.join(" ")}`,
        () => (this.end === undefined ? undefined : { end: this.end }),
        deadlineMs,
      )
    ).end;
  }

  /** For messages. */
  told(): string {
    return `${this.end}\n${this.out}${this.err}`;
  }
}

export class Scratch implements AsyncDisposable {
  private readonly programs: Program[] = [];
  private readonly endings: (() => Promise<void>)[] = [];
  private readonly clear = (): void => {
    for (const { child } of this.programs) child.kill("SIGKILL");
    rmSync(this.folder, { recursive: true, force: true });
  };

  private constructor(readonly folder: string) {
    process.once("exit", this.clear);
  }

  static async create(name: string): Promise<Scratch> {
    return new Scratch(await mkdtemp(join(tmpdir(), `belfry-test-${name}-`)));
  }

  start(command: string, args: readonly string[], options: ProgramOptions = {}): Program {
    const child = spawn(command, args, {
      cwd: options.cwd ?? this.folder,
      env: { ...process.env, ...options.env },
      stdio: ["ignore", "pipe", "pipe"],
    });
    const program = new Program(child);
    this.programs.push(program);
    return program;
  }

  /** Runs a program to its end; throws what it said unless it ended with 0. */
  async run(
    command: string,
    args: readonly string[],
    options: ProgramOptions & { readonly deadlineMs?: number } = {},
  ): Promise<string> {
    const program = this.start(command, args, options);
    const end = await program.ends(options.deadlineMs);
    if (end !== 0) throw new Error(`${command} ${args.join(" ")} ended with ${program.told()}`);
    return program.out;
  }

  /** `end` is called before the folder goes, the last one first. */
  defer(end: () => Promise<void>): void {
    this.endings.unshift(end);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const end of this.endings) await end();
    const running = this.programs.filter((program) => program.end === undefined);
    for (const { child } of running) child.kill("SIGKILL");
    await Promise.all(running.map((program) => program.ends()));
    process.off("exit", this.clear);
    await rm(this.folder, { recursive: true, force: true, maxRetries: 3 });
  }
}
