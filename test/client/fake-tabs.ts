/** Tabs of one browser without a browser: Web Locks and BroadcastChannels in memory. */
import type { TabChannel, TabLocks, TabPlatform } from "../../src/client/tab-platform.js";

interface Waiting {
  readonly holder: () => Promise<void>;
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}

export class FakeBrowser {
  private readonly channels = new Map<string, Set<FakeChannel>>();
  private readonly held = new Map<string, Waiting>();
  private readonly queues = new Map<string, Waiting[]>();

  /** The locks are the browser's, and so are the channels; the life is the tab's. */
  tab(): FakeTab {
    return new FakeTab(this);
  }

  readonly locks: TabLocks = {
    request: (name, { signal, steal }, holder) =>
      new Promise<void>((resolve, reject) => {
        const waiting: Waiting = { holder, resolve, reject };
        const queue = this.queues.get(name) ?? [];
        this.queues.set(name, queue);
        if (steal === true) {
          this.held.get(name)?.reject(new Error("AbortError: stolen"));
          this.grant(name, waiting);
          return;
        }
        if (signal?.aborted === true) return reject(new Error("AbortError"));
        queue.push(waiting);
        signal?.addEventListener("abort", () => {
          const at = queue.indexOf(waiting);
          if (at < 0) return;
          queue.splice(at, 1);
          reject(new Error("AbortError"));
        });
        this.next(name);
      }),
  };

  open(name: string): FakeChannel {
    const channels = this.channels.get(name) ?? new Set<FakeChannel>();
    this.channels.set(name, channels);
    const channel = new FakeChannel(channels);
    channels.add(channel);
    return channel;
  }

  private next(name: string): void {
    if (this.held.has(name)) return;
    const waiting = this.queues.get(name)?.shift();
    if (waiting !== undefined) this.grant(name, waiting);
  }

  private grant(name: string, waiting: Waiting): void {
    this.held.set(name, waiting);
    void Promise.resolve()
      .then(waiting.holder)
      .then(() => {
        waiting.resolve();
        if (this.held.get(name) !== waiting) return;
        this.held.delete(name);
        this.next(name);
      });
  }
}

class FakeChannel implements TabChannel {
  onmessage: ((event: MessageEvent) => void) | null = null;

  constructor(private readonly channels: Set<FakeChannel>) {}

  postMessage(message: unknown): void {
    if (!this.channels.has(this)) return;
    const data: unknown = structuredClone(message);
    const others = [...this.channels].filter((channel) => channel !== this);
    queueMicrotask(() => {
      for (const other of others) other.onmessage?.({ data } as MessageEvent);
    });
  }

  close(): void {
    this.channels.delete(this);
  }
}

export class FakeTab implements TabPlatform {
  readonly locks: TabLocks;
  readonly channel: (name: string) => TabChannel;
  private suspended = new Set<() => void>();
  private resumed = new Set<() => void>();
  private readonly own: FakeChannel[] = [];
  private isHanging = false;

  constructor(browser: FakeBrowser) {
    this.locks = {
      request: (name, options, holder) =>
        this.isHanging ? new Promise(() => {}) : browser.locks.request(name, options, holder),
    };
    this.channel = (name) => {
      const channel = browser.open(name);
      this.own.push(channel);
      return channel;
    };
  }

  readonly lifecycle = {
    onSuspend: (listener: () => void) => {
      this.suspended.add(listener);
      return () => void this.suspended.delete(listener);
    },
    onResume: (listener: () => void) => {
      this.resumed.add(listener);
      return () => void this.resumed.delete(listener);
    },
  };

  freeze(): void {
    for (const listener of this.suspended) listener();
  }

  resume(): void {
    for (const listener of this.resumed) listener();
  }

  /** Its page hangs: it hears, says and asks for nothing, and keeps its lock. */
  hang(): void {
    this.isHanging = true;
    for (const channel of this.own) channel.close();
  }
}
