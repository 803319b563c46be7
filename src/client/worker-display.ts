/**
 * What one page displays by its service worker.
 *
 *   displaying ──last show ended──▶ closing what was withdrawn ──▶ displaying
 *
 * Invariant: `getNotifications()` is never asked while a `showNotification()` is under way.
 * Chromium forgets a notification that it begins to display meanwhile: it stays on the
 * screen, and can be neither found nor tapped any more (145 of 150 in an experiment).
 */

/** Of the platform's NotificationOptions what is used: Node's types have none. */
interface DisplayOptions {
  readonly body: string;
  readonly tag: string;
  readonly data: unknown;
  readonly icon?: string;
  readonly badge?: string;
}

/** The part of `navigator.serviceWorker` that is used. */
export interface WorkerContainer {
  getRegistration(): Promise<WorkerRegistration | undefined>;
  addEventListener(type: "message", listener: (event: { data: unknown }) => void): void;
  removeEventListener(type: "message", listener: (event: { data: unknown }) => void): void;
}

export interface WorkerRegistration {
  readonly active: unknown;
  showNotification(title: string, options: DisplayOptions): Promise<void>;
  getNotifications(filter: { tag: string }): Promise<readonly { close(): void }[]>;
}

/** Only while a show does not end do they come together; then the oldest stay displayed. */
const withdrawnMax = 1_024;

export class WorkerDisplay {
  private readonly withdrawn = new Set<string>();
  private showing = 0;
  private closing: Promise<unknown> | undefined = undefined;

  constructor(
    private readonly workers: WorkerContainer,
    private readonly onError: (error: unknown) => void,
  ) {}

  /** Rejects as `showNotification` does. */
  async show(
    registration: WorkerRegistration,
    title: string,
    options: DisplayOptions,
  ): Promise<void> {
    while (this.closing !== undefined) await this.closing;
    this.withdrawn.delete(options.tag);
    this.showing++;
    try {
      await registration.showNotification(title, options);
    } finally {
      this.showing--;
      this.closeWithdrawn();
    }
  }

  /** `id`: the tag that it was shown under. */
  withdraw(id: string): void {
    this.withdrawn.add(id);
    const [oldest = id] = this.withdrawn;
    if (this.withdrawn.size > withdrawnMax) this.withdrawn.delete(oldest);
    this.closeWithdrawn();
  }

  private closeWithdrawn(): void {
    if (this.showing > 0 || this.closing !== undefined || this.withdrawn.size === 0) return;
    const ids = [...this.withdrawn];
    this.withdrawn.clear();
    this.closing = Promise.all(ids.map((id) => this.close(id).catch(this.onError))).finally(() => {
      this.closing = undefined;
      this.closeWithdrawn();
    });
  }

  private async close(tag: string): Promise<void> {
    const registration = await this.workers.getRegistration();
    const shown = (await registration?.getNotifications({ tag })) ?? [];
    for (const notification of shown) notification.close();
  }
}
