/**
 * Many devices of the SDK in one process, as an edge that goes away knows them: they follow
 * its directives. Counts how often each connects, and checks the publisher's numbers.
 */
import { createDevice, type Device, type DeviceOptions } from "../../src/client/device-client.js";
import { JwtTokens } from "../../src/drivers/jwt-tokens.js";
import type { AppSecret } from "../../src/ports/tokens.js";
import { memoryStorage } from "../../test/support/platform.js";
import { serve } from "../harness/worker-process.js";
import { ArrivalCheck, type ArrivalCounts } from "./arrival-check.js";
import { readBody } from "./body.js";
import { LeanDeviceSocket } from "./lean-device-socket.js";

export interface MovingOptions {
  readonly app: string;
  readonly secret: AppSecret;
  readonly uids: readonly string[];
  /** That they know themselves; where to go from there they are told. */
  readonly urls: readonly string[];
}

export interface MovingCounts extends ArrivalCounts {
  readonly attached: number;
  /** So many connections of one device at most and at least. */
  readonly connectsMax: number;
  readonly connectsMin: number;
  /** Handshakes that were refused or came to nothing. */
  readonly failures: number;
  /** By the edge, because they had not gone in time. */
  readonly closedForStaying: number;
}

const connectingMax = 64;
const tokenSeconds = 3_600;
const opening = 0;
/** See close-codes.ts. */
const goingAway = 4_000;

class MovingClients {
  private readonly tokens = new JwtTokens({ find: () => undefined });
  private readonly check = new ArrivalCheck();
  private readonly devices: Device[] = [];
  private connects: number[] = [];
  private failures = 0;
  private closedForStaying = 0;

  constructor(private readonly options: MovingOptions) {
    this.connects = options.uids.map(() => 0);
  }

  /** Resolves when all are attached. */
  async connect(): Promise<void> {
    let next = 0;
    const worker = async () => {
      while (next < this.options.uids.length) await this.connectOne(next++);
    };
    await Promise.all(Array.from({ length: connectingMax }, worker));
  }

  private async connectOne(at: number): Promise<void> {
    const { app, secret, uids, urls } = this.options;
    const uid = uids[at] ?? "";
    const exp = Math.floor(Date.now() / 1_000) + tokenSeconds;
    const token = await this.tokens.sign({ app, sub: uid, exp, jti: uid }, secret);
    await new Promise<void>((resolve) => {
      const device = createDevice({
        urls,
        socket: this.socketOf(at),
        getToken: async () => token,
        storage: memoryStorage(),
        start: "all",
        onMessage: ({ body }) => {
          const { user, number } = readBody(Buffer.from(body as Uint8Array));
          this.check.note(user, number);
        },
        onState: ({ name }) => {
          if (name === "attached") resolve();
        },
      });
      this.devices.push(device);
      device.connect();
    });
  }

  private socketOf(at: number): NonNullable<DeviceOptions["socket"]> {
    const clients = this;
    return class extends LeanDeviceSocket {
      protected override onOpen(): void {
        clients.connects[at] = (clients.connects[at] ?? 0) + 1;
        super.onOpen();
      }

      protected override onEnd(code: number, reason: string): void {
        if (this.readyState === opening) clients.failures++;
        if (code === goingAway) clients.closedForStaying++;
        super.onEnd(code, reason);
      }
    };
  }

  counts(): MovingCounts {
    const { connects, failures, closedForStaying } = this;
    const attached = this.devices.filter(({ state }) => state.name === "attached").length;
    const [connectsMax, connectsMin] = [Math.max(...connects), Math.min(...connects)];
    return {
      attached,
      connectsMax,
      connectsMin,
      failures,
      closedForStaying,
      ...this.check.counts(),
    };
  }

  close(): void {
    for (const device of this.devices) device.close();
  }
}

let clients: MovingClients | undefined;

function current(): MovingClients {
  if (clients === undefined) throw new Error("the clients are not set up");
  return clients;
}

serve({
  setUp(options: MovingOptions) {
    clients = new MovingClients(options);
  },
  connect: () => current().connect(),
  counts: () => current().counts(),
  close: () => current().close(),
});
