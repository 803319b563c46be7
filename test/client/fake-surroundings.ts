/** A platform whose network and app state are what a test says. */
import type { AppState, AppStateSource } from "../../src/client/app-state.js";
import type { NetworkSource, NetworkType } from "../../src/client/network-source.js";

export class FakeSurroundings {
  /** Who listens now. */
  readonly listeners = new Set<() => void>();
  readonly network: NetworkSource;
  readonly appState: AppStateSource;

  constructor(
    private networkType: NetworkType = "unknown",
    private app: AppState = "front",
  ) {
    const onChange = (listener: () => void) => {
      this.listeners.add(listener);
      return () => void this.listeners.delete(listener);
    };
    this.network = { current: () => this.networkType, onChange };
    this.appState = { current: () => this.app, onChange };
  }

  become({ network, app }: { readonly network?: NetworkType; readonly app?: AppState }): void {
    this.networkType = network ?? this.networkType;
    this.app = app ?? this.app;
    for (const listener of [...this.listeners]) listener();
  }
}
