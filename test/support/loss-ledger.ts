/**
 * What publishers of a loss test were answered, and what devices showed of it: user by
 * user, by the publishers' own numbers inside the payloads. Filled while a run goes on;
 * loss-judge.ts says what is wrong with it.
 */

/** What the platform was asked to do, and may leave out only for these reasons. */
export interface LossCommand {
  readonly publisher: string;
  /** 1, 2, 3… of this publisher to this user; the next one only after this has ended. */
  readonly number: number;
  /** Repeated under an idempotency key until it is answered; else tried once. */
  readonly isKeyed: boolean;
  readonly collapse?: string;
  readonly ttlSeconds?: number;
}

/**
 * ok: accepted. refused: for good, or with a code that says that nothing was stored.
 * unknown: given up, and it may come or not.
 */
export type LossOutcome =
  | { readonly kind: "ok"; readonly id: string; readonly seq: number }
  | { readonly kind: "refused" | "unknown"; readonly why: string };

export interface LossPush extends LossCommand {
  readonly sentMs: number;
  /** All processes of a run are on one machine: one wall clock. */
  readonly sentWallMs: number;
  endedMs?: number;
  endedWallMs?: number;
  outcome?: LossOutcome;
}

/** What a device's app took, in that order. */
export interface LossShown {
  readonly publisher: string;
  readonly number: number;
  readonly id: string;
  readonly seq: number;
  readonly wallMs: number;
}

/** By which way all of a user's pushes come: no order is promised between the two. */
export type LossWayKind = "request" | "lane";

export class LossUser {
  /**
   * Who publishes on a lane is told no seq: of one publisher's pushes to one user, in the
   * order of the lane, the number says the same.
   */
  way: LossWayKind = "request";
  readonly pushes: LossPush[] = [];
  readonly devices = new Map<string, LossShown[]>();
  /** By device, the MsgIDs that a node said it gave up sending to it. */
  readonly setAside = new Map<string, Set<string>>();

  constructor(readonly uid: string) {}
}

export class LossLedger {
  readonly users = new Map<string, LossUser>();

  user(uid: string): LossUser {
    const user = this.users.get(uid) ?? new LossUser(uid);
    this.users.set(uid, user);
    return user;
  }

  /** From now on all that is accepted is owed to this device. */
  addDevice(uid: string, device: string): void {
    const { devices } = this.user(uid);
    if (!devices.has(device)) devices.set(device, []);
  }

  notePush(uid: string, push: LossPush): LossPush {
    this.user(uid).pushes.push(push);
    return push;
  }

  noteShown(uid: string, device: string, shown: LossShown): void {
    this.addDevice(uid, device);
    const { way, devices } = this.user(uid);
    const told = way === "lane" ? { ...shown, id: nameOf(shown), seq: shown.number } : shown;
    devices.get(device)?.push(told);
  }

  noteSetAside(uid: string, device: string, id: string): void {
    const { setAside } = this.user(uid);
    setAside.set(device, (setAside.get(device) ?? new Set()).add(id));
  }

  get pushes(): LossPush[] {
    return [...this.users.values()].flatMap(({ pushes }) => pushes);
  }
}

export function nameOf({ publisher, number }: Pick<LossCommand, "publisher" | "number">): string {
  return `${publisher}#${number}`;
}
