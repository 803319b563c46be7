/**
 * One device for all tabs of a browser: one of them is connected and relays to the others.
 *
 *              lock granted                       lock stolen, page frozen
 *   waiting ────────────────────▶ leading ───────────────────────────────▶ waiting | asleep
 *   (hears the leader)            (holds the lock, has the connection)
 *
 * The lock (Web Locks) goes to the next tab when the leader's tab is closed, frozen or crashed.
 * A leader that holds it and does not answer loses it to a tab that somebody looks at.
 *
 * The leader's own handler decides whether a message is taken. Invariant: a tab has a device only
 * while it leads: with the lock, or where it gets none, beside the others.
 */
import type { Clock } from "../base/clock.js";
import { type Random, randomToken } from "../base/random.js";
import type { Position } from "../protocol/position.js";
import { AppHandlers } from "./app-handlers.js";
import type { AppStateSource } from "./app-state.js";
import type { DeviceState } from "./connection-phase.js";
import { createDevice } from "./device-client.js";
import type { DeviceEvents, DeviceListener, MessageHandler, Unsubscribe } from "./device-events.js";
import type { DeviceMessage } from "./device-message.js";
import type { BindOptions, BoundSession, Device, DeviceOptions } from "./device-options.js";
import type { DeviceStorage } from "./device-storage.js";
import { platformAppState, platformClock, platformRandom, tabStorage } from "./platform.js";
import { TabBinds } from "./tab-binds.js";
import { TabCalls } from "./tab-calls.js";
import { TabInbox } from "./tab-inbox.js";
import { TabLead } from "./tab-lead.js";
import { LeaderSilence, TabLock } from "./tab-lock.js";
import { openTabMessage, sealTabMessage, type TabMessage } from "./tab-message.js";
import { browserTabs, type TabChannel, type TabPlatform } from "./tab-platform.js";
import type { CallOptions } from "./uplink-calls.js";

export type { TabChannel, TabLifecycle, TabLocks, TabPlatform } from "./tab-platform.js";

export interface SharedDeviceOptions extends DeviceOptions {
  /**
   * Names the signed-in user: tabs with the same name share one device, and hear what the
   * others are sent. Change it with the user. The storage's keys begin with it.
   */
  readonly share: string;
  /** Default: the browser's Web Locks and BroadcastChannel. */
  readonly tabs?: TabPlatform;
}

/** A tab that somebody looks at asks the leader so often whether it is there. */
const askEveryMs = 10_000;

/** Where tabs cannot share it is a device by itself, as `createDevice` makes it. */
export function createSharedDevice(options: SharedDeviceOptions): Device {
  const storagePrefix = options.storagePrefix ?? `belfry.${options.share}.`;
  const tabs = options.tabs ?? browserTabs();
  // Two tabs with one name would replace each other.
  if (tabs === undefined)
    return createDevice({ ...options, ...ownStorage(options), storagePrefix });
  return new SharedDevice({ ...options, storagePrefix }, tabs);
}

function ownStorage({ storage }: DeviceOptions): { readonly storage: DeviceStorage } {
  return { storage: storage ?? tabStorage() };
}

/** What exists only while this tab leads. */
interface Lead {
  readonly tab: TabLead;
  /** Gives the lock back. */
  readonly release: () => void;
}

/** What exists only while this tab takes part. */
interface Part {
  readonly channel: TabChannel;
  readonly abort: AbortController;
  readonly stops: readonly (() => void)[];
}

class SharedDevice implements Device {
  private readonly tab: string;
  private readonly name: string;
  private readonly clock: Clock;
  private readonly appState: AppStateSource;
  private readonly app: AppHandlers;
  private readonly inbox: TabInbox;
  private readonly calls: TabCalls;
  private readonly binds = new TabBinds();
  private part: Part | undefined;
  private lead: Lead | undefined;
  private told: { state: DeviceState; position?: Position } = { state: { name: "idle" } };
  private readonly lock: TabLock;
  private readonly silence = new LeaderSilence();
  /** Of a tab that gets no lock, and leads beside others: it is a device by itself. */
  private alone: { readonly storage: DeviceStorage } | undefined;
  /** The tab that leads, as far as this one heard. */
  private leader: string | undefined;
  private cancelAsk: () => void = () => {};

  constructor(
    private readonly options: SharedDeviceOptions,
    private readonly tabs: TabPlatform,
  ) {
    const random: Random = options.random ?? platformRandom;
    this.clock = options.clock ?? platformClock;
    this.appState = options.appState ?? platformAppState();
    this.tab = randomToken(random, 16);
    this.name = `belfry:${options.storagePrefix}${options.share}`;
    this.app = new AppHandlers(options);
    this.inbox = new TabInbox(this.app);
    this.calls = new TabCalls(this.tab, this.clock, (message) => this.say(message));
    this.lock = new TabLock(tabs.locks, this.name, this.clock, {
      onHeld: (signal) => this.startLeading(signal),
      onRobbed: () => this.onRobbed(),
      onDenied: (signal) => {
        this.alone ??= ownStorage(this.options);
        void this.startLeading(signal);
      },
      onFailed: (cause) => this.app.report("TABS", "the tabs' lock, or leading with it", cause),
    });
    // Throws for what it is missing now, not when this tab begins to lead.
    createDevice(options);
  }

  get state(): DeviceState {
    return this.lead?.tab.device.state ?? this.told.state;
  }

  get position(): Position | undefined {
    return this.lead?.tab.device.position ?? this.told.position;
  }

  connect(): void {
    if (this.part === undefined) this.join();
    else if (this.lead !== undefined) this.lead.tab.device.connect();
    else this.say({ kind: "connect" });
  }

  /** This tab leaves; the others go on. */
  close(): void {
    this.leave();
    this.inbox.clear();
    this.calls.close();
    this.hear({ name: "idle" });
  }

  isNew(id: string): boolean {
    if (!this.inbox.isNew(id)) return false;
    if (this.lead !== undefined) return this.lead.tab.device.isNew(id);
    this.say({ kind: "seen", id });
    return true;
  }

  on<Name extends keyof DeviceEvents>(name: Name, listener: DeviceListener<Name>): Unsubscribe {
    return this.app.on(name, listener);
  }

  onType(type: string, handler: MessageHandler): Unsubscribe {
    return this.app.onType(type, handler);
  }

  bind(options: BindOptions): BoundSession {
    return this.binds.bind(options);
  }

  call(route: string, body: unknown, options?: CallOptions): Promise<unknown> {
    if (this.lead !== undefined) return this.lead.tab.device.call(route, body, options);
    return this.calls.call(route, body, options);
  }

  opened(id: string): void {
    if (this.lead !== undefined) this.lead.tab.device.opened(id);
    else this.say({ kind: "opened", id });
  }

  // ---- taking part ----

  private join(): void {
    const channel = this.tabs.channel(this.name);
    channel.onmessage = ({ data }) => {
      const message = openTabMessage(data);
      if (message !== undefined) this.onTabMessage(message);
    };
    const abort = new AbortController();
    const { lifecycle } = this.tabs;
    const stops = [
      this.appState.onChange(() => this.sayApp()),
      lifecycle.onSuspend(() => this.sleep()),
      lifecycle.onResume(() => this.wake()),
    ];
    this.part = { channel, abort, stops };
    this.silence.end();
    this.hear({ name: "connecting" });
    this.lock.queueUp(abort.signal);
    this.sayApp();
  }

  private leave(): void {
    const { part } = this;
    if (part === undefined) return;
    this.stopLeading();
    this.say({ kind: "bye", tab: this.tab });
    this.part = undefined;
    this.cancelAsk();
    for (const stop of part.stops) stop();
    part.abort.abort();
    part.channel.onmessage = null;
    part.channel.close();
  }

  /** The page is about to run no more code; its connection would look alive. */
  private sleep(): void {
    const { part } = this;
    if (part === undefined || part.abort.signal.aborted) return;
    this.stopLeading();
    this.say({ kind: "bye", tab: this.tab });
    this.cancelAsk();
    part.abort.abort();
    this.hear({ name: "connecting" });
  }

  private wake(): void {
    const { part } = this;
    if (part === undefined || !part.abort.signal.aborted) return;
    const abort = new AbortController();
    this.part = { ...part, abort };
    this.silence.end();
    this.lock.queueUp(abort.signal);
    this.sayApp();
  }

  /** Tells the others whether somebody looks at this tab; a tab in front asks for the leader too. */
  private sayApp(): void {
    this.cancelAsk();
    const { part } = this;
    if (part === undefined || part.abort.signal.aborted || this.lead !== undefined) return;
    const app = this.appState.current();
    if (app === "front") this.askForLeader(part.abort.signal);
    else this.silence.end();
    this.say({ kind: "tab", tab: this.tab, app });
  }

  private askForLeader(signal: AbortSignal): void {
    const nowMs = this.clock.monotonicMs();
    if (this.silence.isTooLong(nowMs)) {
      this.silence.end();
      this.lock.steal(signal);
    }
    this.silence.asked(nowMs);
    this.cancelAsk = this.clock.after(askEveryMs, () => this.sayApp());
  }

  // ---- leading ----

  private startLeading(signal: AbortSignal): Promise<void> {
    if (signal.aborted || this.lead !== undefined) return Promise.resolve();
    return new Promise((release) => {
      this.cancelAsk();
      this.calls.onLeaderGone();
      const { tab, clock, appState, app, inbox, calls } = this;
      const lead = new TabLead(
        { ...this.options, ...this.alone },
        {
          ...{ tab, clock, appState, app, inbox, calls },
          say: (message) => this.say(message),
          onState: (state) => {
            // When it stops leading the device is closed, and the shared one goes on.
            if (this.lead?.tab !== lead) return;
            lead.sayHere();
            app.tell("state", state);
          },
        },
      );
      const { device } = lead;
      this.lead = { tab: lead, release };
      this.leader = this.tab;
      device.connect();
      this.binds.lead(device);
      this.calls.moveTo(device);
    });
  }

  private stopLeading(): void {
    const { lead } = this;
    if (lead === undefined) return;
    this.lead = undefined;
    lead.tab.deafen();
    this.binds.lead(undefined);
    lead.tab.device.close();
    lead.release();
    this.calls.onLeaderGone();
    this.silence.end();
  }

  private onRobbed(): void {
    this.stopLeading();
    this.hear({ name: "connecting" });
  }

  // ---- what tabs hear ----

  private onTabMessage(message: TabMessage): void {
    if (this.lead !== undefined) this.lead.tab.onTabMessage(message);
    else this.onLeader(message);
  }

  private onLeader(message: TabMessage): void {
    switch (message.kind) {
      case "here": {
        this.silence.end();
        const { kind: _, tab, ...told } = message;
        const isNews = JSON.stringify(told.state) !== JSON.stringify(this.told.state);
        this.told = told;
        if (tab !== this.leader) {
          this.leader = tab;
          this.sayApp();
        }
        if (isNews) this.app.tell("state", told.state);
        this.calls.onLeader();
        return;
      }
      case "message":
        this.silence.end();
        this.noteTaken(message.message);
        this.inbox.onRelayed(message.message);
        return;
      case "passing":
        this.app.tell("passing", message.message);
        return;
      case "tap":
        if ((message.to ?? this.tab) === this.tab) this.inbox.onTap(message.message);
        return;
      case "recall":
        this.inbox.onRecalled(message.id);
        this.app.tell("recall", message.id);
        return;
      case "config":
        this.app.tell("config", message.config);
        return;
      case "answer":
        this.calls.onAnswer(message);
        return;
      default:
        return;
    }
  }

  private noteTaken({ position }: DeviceMessage): void {
    if (position !== undefined) this.told = { ...this.told, position };
  }

  private hear(state: DeviceState): void {
    this.told = { state };
    this.app.tell("state", state);
  }

  private say(message: TabMessage): void {
    const { part } = this;
    if (part === undefined) return;
    try {
      part.channel.postMessage(sealTabMessage(message));
    } catch (cause) {
      // A body that cannot be cloned, which none is that came over the wire.
      this.app.report("TABS", "the other tabs were not told", cause);
    }
  }
}
