/** What an edge is told of the device's surroundings: with hello, and when they change. */
import { clientKinds } from "../protocol/frames.js";
import type { EdgeConnection, SilenceWatch } from "./edge-connection.js";
import type { Heartbeats } from "./heartbeat-memory.js";
import type { NetworkType } from "./network-source.js";
import type { Seen, Surroundings } from "./surroundings.js";

export class EdgeTelling {
  private saidAtHello: Seen | undefined;

  constructor(
    private readonly heartbeats: Heartbeats,
    private readonly surroundings: Surroundings,
  ) {}

  /** Hello's fields. */
  hello(): Record<string, unknown> {
    this.saidAtHello = this.surroundings.now;
    return this.fields();
  }

  /** Only now it is known what this edge takes. */
  onAttached(connection: EdgeConnection): void {
    if (this.surroundings.now !== this.saidAtHello) this.tell(connection);
  }

  tell(connection: EdgeConnection): void {
    if (connection.canTake(clientKinds.tell)) connection.send([clientKinds.tell, this.fields()]);
  }

  /** What the silences of a connection by `network` teach. */
  watch(network: NetworkType, connection: () => EdgeConnection | undefined): SilenceWatch {
    return {
      onPing: (silenceMs, intervalMs) => {
        const isNew = this.heartbeats.onPing(network, silenceMs, intervalMs);
        const present = connection();
        if (isNew && present !== undefined) this.tell(present);
      },
      onSilence: (intervalMs) => {
        if (this.surroundings.now.network === "none") return;
        this.heartbeats.onSilence(network, intervalMs);
      },
    };
  }

  private fields(): Record<string, unknown> {
    const { network, app } = this.surroundings.now;
    const heartbeatMs = this.heartbeats.wantedMs(network, app === "front");
    return {
      app,
      ...(network === "unknown" || network === "none" ? {} : { network }),
      ...(heartbeatMs === undefined ? {} : { heartbeatMs }),
    };
  }
}
