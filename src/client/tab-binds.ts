/**
 * Users bound by one tab of a shared device. Their messages are not relayed: a tab has its
 * bound users' while it is the one that is connected, so each tab binds what the app needs,
 * and the tab that leads next goes on from the position that is stored for all of them.
 */
import { AppHandlers } from "./app-handlers.js";
import type { DeviceState } from "./connection-phase.js";
import type { BindOptions, BoundSession, Device } from "./device-options.js";
import { CallError, type CallOptions } from "./uplink-calls.js";

export class TabBinds {
  private readonly binds = new Set<TabBind>();
  private device: Device | undefined;

  bind(options: BindOptions): BoundSession {
    const bind = new TabBind(options, () => void this.binds.delete(bind));
    this.binds.add(bind);
    if (this.device !== undefined) bind.lead(this.device);
    return bind;
  }

  /** This tab leads now; undefined: it does no more. */
  lead(device: Device | undefined): void {
    this.device = device;
    for (const bind of this.binds) bind.lead(device);
  }
}

class TabBind implements BoundSession {
  private readonly app: AppHandlers;
  private bound: BoundSession | undefined;
  private told: DeviceState = { name: "connecting" };
  readonly on: AppHandlers["on"];
  readonly onType: AppHandlers["onType"];

  constructor(
    private readonly options: BindOptions,
    private readonly forget: () => void,
  ) {
    this.app = new AppHandlers(options);
    this.on = this.app.on.bind(this.app);
    this.onType = this.app.onType.bind(this.app);
  }

  lead(device: Device | undefined): void {
    const { app } = this;
    const before = this.bound;
    this.bound = undefined;
    before?.unbind();
    this.bound = device?.bind({
      ...this.options,
      onMessage: (message) => app.take(message),
      onPassing: (message) => app.tell("passing", message),
      onRecall: (id) => app.tell("recall", id),
      onTap: (message) => app.tell("tap", message),
      onState: (state) => {
        // That it was unbound is news only where the app did it.
        if (state.name !== "idle") this.hear(state);
      },
      onError: (error) => app.tell("error", error),
    });
    // On a device that is stopped it begins so.
    if (this.bound?.state.name === "stopped") this.told = this.bound.state;
    if (device === undefined && before !== undefined) this.hear({ name: "connecting" });
  }

  unbind(): void {
    this.forget();
    this.lead(undefined);
    this.hear({ name: "idle" });
  }

  call(route: string, body: unknown, options?: CallOptions): Promise<unknown> {
    const { bound } = this;
    if (bound !== undefined) return bound.call(route, body, options);
    return Promise.reject(new CallError("NOT_CONNECTED", "not-done", "another tab is connected"));
  }

  /** Nobody hears of it while another tab is connected. */
  opened(id: string): void {
    this.bound?.opened(id);
  }

  get state(): DeviceState {
    return this.told;
  }

  get position() {
    return this.bound?.position;
  }

  private hear(state: DeviceState): void {
    if (JSON.stringify(state) === JSON.stringify(this.told)) return;
    this.told = state;
    this.app.tell("state", state);
  }
}
