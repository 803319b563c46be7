/**
 * One call of the command: what it was given from outside, and the one place where
 * an outcome becomes output and an exit code.
 *
 * With `--json` exactly one JSON document goes to stdout, whatever happens. Without
 * it, reports go to stdout and everything else to stderr.
 */
import type { Command } from "commander";
import type { Clock } from "../base/clock.js";
import { Fault } from "../base/result.js";
import type { TokenSigner } from "../ports/tokens.js";
import type { Backups } from "./backups.js";
import type { Fleet, OpenFleet } from "./fleet.js";
import type { Patience } from "./leader.js";
import type { MigrateStore } from "./migration.js";
import { type ExitCode, exitCodeOf, exitCodes, type Outcome } from "./outcome.js";
import { paintFor, printable } from "./text.js";

/** The process around the command. */
export interface CliWorld {
  readonly version: string;
  readonly out: (text: string) => void;
  readonly err: (text: string) => void;
  /** Whether `out` is a terminal that shows colours. */
  readonly isTerminal: boolean;
  readonly clock: Clock;
  /** For secrets: from a cryptographic source. */
  readonly randomBytes: (count: number) => Uint8Array;
  readonly signer: TokenSigner;
  readonly isReservedAppName: (app: string) => boolean;
  readonly openFleet: OpenFleet;
  readonly migrateStore: MigrateStore;
  readonly backups: Backups;
}

/** Given to any command, before or after its name. */
export interface CommonOptions {
  readonly json?: true;
  readonly natsUrl?: string;
  readonly user?: string;
  readonly passwordFile?: string;
  /** In milliseconds. */
  readonly timeout: number;
}

export class Invocation {
  exitCode: ExitCode = exitCodes.done;

  constructor(
    readonly world: CliWorld,
    private readonly program: Command,
    private readonly isJson: boolean,
  ) {}

  /** Opens the fleet, does the work, prints its outcome, closes the fleet. */
  withFleet(work: (fleet: Fleet) => Promise<Outcome>): Promise<void> {
    const { natsUrl, user, passwordFile, timeout } = this.program.opts<CommonOptions>();
    return this.withSilence(async () => {
      const opened = await this.world.openFleet({
        timeoutMs: timeout,
        ...(natsUrl === undefined ? {} : { natsUrl }),
        ...(user === undefined ? {} : { user }),
        ...(passwordFile === undefined ? {} : { passwordFile }),
      });
      if (!opened.ok) return opened;
      const fleet = opened.value;
      try {
        return await work(fleet);
      } finally {
        await fleet.close();
      }
    });
  }

  /** Does the work and prints its outcome; a Fault is that nobody answered. */
  async withSilence(work: () => Promise<Outcome>): Promise<void> {
    try {
      this.print(await work());
    } catch (error) {
      if (!(error instanceof Fault)) throw error;
      this.printSilence(error);
    }
  }

  get patience(): Patience {
    return { clock: this.world.clock, timeoutMs: this.program.opts<CommonOptions>().timeout };
  }

  /** For people who wait; with `--json` only the end is told. */
  tellProgress(text: string): void {
    if (!this.isJson) this.world.err(`${printable(text)}\n`);
  }

  print(outcome: Outcome): void {
    this.exitCode = exitCodeOf(outcome);
    if (this.isJson) {
      this.document(outcome.ok ? outcome.document : outcome);
    } else if (outcome.ok) {
      this.world.out(`${outcome.text(paintFor(this.world.isTerminal))}\n`);
    } else {
      this.world.err(`belfry: ${outcome.code}: ${printable(outcome.message)}\n`);
    }
  }

  private printSilence({ code, message }: Fault): void {
    this.exitCode = exitCodes.silent;
    if (this.isJson) this.document({ ok: false, code, message, retryable: true });
    else this.world.err(`belfry: ${printable(message)}\n`);
  }

  private document(value: unknown): void {
    this.world.out(`${JSON.stringify(value, null, 2)}\n`);
  }
}
