/** What the devices were sent, showed and took, as the simulator has seen it from outside. */
import type { Position } from "../../src/protocol/position.js";
import { type SessionKey, sessionKey } from "../../src/protocol/shards.js";

export interface DeviceName {
  readonly app: string;
  readonly uid: string;
  readonly device: string;
}

export interface DeviceHistory {
  /** By MsgID. */
  readonly shown: Set<string>;
  /** How often each seq was sent to it, since the user was last erased. */
  readonly sent: Map<number, number>;
  /** How often it, or its edge, asked to be sent something again. */
  repeats: number;
  /** Tried while it was stalled: those sendings do not count. */
  readonly trials: Set<number>;
  readonly numbers: Map<string, number>;
  taken: Position | undefined;
  /** The highest that a session ever sent it, for those that ack what they did not show. */
  sentSeq: number;
}

export class DeviceHistories {
  private readonly devices = new Map<string, DeviceHistory>();
  private readonly liars = new Set<string>();

  /** It acks above what it was sent, so only what it was sent can bound its cursor. */
  noteLiar(device: DeviceName): void {
    this.liars.add(nameOf(device));
  }

  noteSent(key: SessionKey, device: string, seqs: readonly number[]): void {
    const known = this.of(key, device);
    for (const seq of seqs) {
      known.sentSeq = Math.max(known.sentSeq, seq);
      known.sent.set(seq, (known.sent.get(seq) ?? 0) + 1);
    }
  }

  /** The user was erased: nothing that was sent before counts for what comes. */
  noteErased(key: SessionKey): void {
    for (const [name, device] of this.devices) {
      if (!name.startsWith(`${key}/`)) continue;
      device.sent.clear();
      device.trials.clear();
      device.sentSeq = 0;
    }
  }

  hasShown(key: SessionKey, device: string, id: string, seq: number): boolean {
    const name = `${key}/${device}`;
    const known = this.devices.get(name);
    if (known === undefined) return false;
    return known.shown.has(id) || (this.liars.has(name) && seq <= known.sentSeq);
  }

  of(key: SessionKey, device: string): DeviceHistory {
    const name = `${key}/${device}`;
    const known = this.devices.get(name);
    if (known !== undefined) return known;
    const made: DeviceHistory = {
      shown: new Set(),
      sent: new Map(),
      repeats: 0,
      trials: new Set(),
      numbers: new Map(),
      taken: undefined,
      sentSeq: 0,
    };
    this.devices.set(name, made);
    return made;
  }
}

export function nameOf({ app, uid, device }: DeviceName): string {
  return `${sessionKey(app, uid)}/${device}`;
}
