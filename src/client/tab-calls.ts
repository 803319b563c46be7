/** Calls of a tab that is not connected: they go by the tab that is. */
import type { Clock } from "../base/clock.js";
import { clientKinds } from "../protocol/frames.js";
import type { Device } from "./device-options.js";
import type { TabMessage } from "./tab-message.js";
import { CallError, type CallOptions, type CallWay, UplinkCalls } from "./uplink-calls.js";

type CallMessage = Extract<TabMessage, { kind: "call" }>;
type AnswerMessage = Extract<TabMessage, { kind: "answer" }>;

export class TabCalls {
  private readonly calls: UplinkCalls;
  private hasLeader = false;

  constructor(
    private readonly tab: string,
    clock: Clock,
    private readonly say: (message: TabMessage) => void,
  ) {
    this.calls = new UplinkCalls(clock);
  }

  call(route: string, body: unknown, options?: CallOptions): Promise<unknown> {
    return this.calls.call(route, body, options);
  }

  /** A tab leads, and hears what this one says. */
  onLeader(): void {
    if (this.hasLeader) return;
    this.hasLeader = true;
    const way: CallWay = {
      canTake: () => true,
      send: ([kind, , call, route, deadlineMs, body]) => {
        if (kind !== clientKinds.call) return "closed";
        const { tab } = this;
        this.say({ kind: "call", tab, call, route, deadlineMs, body } as CallMessage);
        return "sent";
      },
    };
    this.calls.onAttached(way, 0);
  }

  onLeaderGone(): void {
    this.hasLeader = false;
    this.calls.onLost();
  }

  /** This tab leads now: what waited for a leader goes by its own device. */
  moveTo(device: Device): void {
    this.calls.onAttached(
      {
        canTake: () => true,
        send: ([, , call, route, deadlineMs, body]) => {
          const options = { deadlineMs: deadlineMs as number };
          device.call(route as string, body, options).then(
            (value) => this.calls.onAnswer(call as number, null, value),
            (error: unknown) => this.calls.onError(call as number, error as CallError),
          );
          return "sent";
        },
      },
      0,
    );
  }

  /** Another tab's call, made by this one's device. */
  async serve(device: Device, { tab, call, route, deadlineMs, body }: CallMessage): Promise<void> {
    const answer = { kind: "answer", tab, call } as const;
    try {
      const value = await device.call(route, body, { deadlineMs });
      this.say({ ...answer, error: null, value });
    } catch (error) {
      const { code, outcome, message } = error as CallError;
      this.say({ ...answer, error: { code, outcome }, value: message });
    }
  }

  onAnswer({ tab, call, error, value }: AnswerMessage): void {
    if (tab !== this.tab) return;
    if (error === null) this.calls.onAnswer(call, null, value);
    else this.calls.onError(call, new CallError(error.code, error.outcome, String(value)));
  }

  close(): void {
    this.hasLeader = false;
    this.calls.close();
  }
}
