/** One call of the command line on a fake fleet, with what it printed and its exit code. */
import type { Cancel } from "../../src/base/clock.js";
import { Fault } from "../../src/base/result.js";
import type { Backups } from "../../src/cli/backups.js";
import { runCommandLine } from "../../src/cli/command-line.js";
import type { FleetSettings, OpenFleet } from "../../src/cli/fleet.js";
import type { MigrateStore } from "../../src/cli/migration.js";
import { openBackups } from "../../src/main/backup/backups.js";
import type { TokenSigner } from "../../src/ports/tokens.js";
import { VirtualClock } from "../support/virtual-clock.js";
import type { FakeFleet } from "./fake-fleet.js";

export interface CliRun {
  readonly exitCode: number;
  readonly out: string;
  readonly err: string;
  /** What stdout holds, read as one JSON document; throws when it is none. */
  // biome-ignore lint/suspicious/noExplicitAny: a test reads whatever is in it.
  readonly document: any;
  /** What the fleet was opened with; undefined when it was not. */
  readonly settings: FleetSettings | undefined;
}

/** Nobody has to wait for it: time passes at once when something waits for time. */
class LeapingClock extends VirtualClock {
  override after(delayMs: number, callback: () => void): Cancel {
    const cancel = super.after(delayMs, callback);
    setImmediate(() => this.advance(delayMs));
    return cancel;
  }
}

/** Shows what it signs. */
const signer: TokenSigner = {
  sign: async (claims, secret) => `signed.${secret.kid}.${claims.sub}`,
};

export interface CliSetting {
  readonly open?: OpenFleet;
  readonly isTerminal?: boolean;
  readonly migrateStore?: MigrateStore;
  readonly backups?: Backups;
}

export async function runCli(
  fleet: FakeFleet,
  args: readonly string[],
  { open, isTerminal = false, migrateStore, backups }: CliSetting = {},
): Promise<CliRun> {
  let out = "";
  let err = "";
  let settings: FleetSettings | undefined;
  let drawn = 0;
  const exitCode = await runCommandLine(args, {
    version: "9.8.7",
    out: (text) => {
      out += text;
    },
    err: (text) => {
      err += text;
    },
    isTerminal,
    // A minute after the nodes' start.
    clock: new LeapingClock(60_000),
    randomBytes: (count) => new Uint8Array(count).fill(++drawn),
    signer,
    isReservedAppName: (app) => app === "node",
    backups: backups ?? openBackups({}),
    migrateStore: migrateStore ?? (async () => ({ store: "lmdb", from: 0, to: 0 })),
    openFleet: (given) => {
      settings = given;
      return open === undefined ? Promise.resolve({ ok: true, value: fleet }) : open(given);
    },
  });
  return {
    exitCode,
    out,
    err,
    settings,
    get document() {
      return JSON.parse(out);
    },
  };
}

export const nobodyListens: OpenFleet = async () => {
  throw new Fault("NOT_RUNNING", "not-done", "nobody answers: is it running? make run");
};
