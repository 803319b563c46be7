/** What the actors of one node share: who the node is, its ports, its bounds, its view. */
import type { Clock } from "../src/base/clock.js";
import type { Random } from "../src/base/random.js";
import type { AppDirectory } from "../src/ports/app-directory.js";
import type { EdgeAccess, EdgeConditions } from "../src/ports/edge-conditions.js";
import type { EdgeTransport } from "../src/ports/edge-transport.js";
import type { EventLog } from "../src/ports/event-log.js";
import type { InboxStore } from "../src/ports/inbox-store.js";
import type { JournalStore } from "../src/ports/journal.js";
import type { KeyValue } from "../src/ports/key-value.js";
import type { Log } from "../src/ports/log.js";
import type { Processes } from "../src/ports/processes.js";
import type { TokenVerifier } from "../src/ports/tokens.js";
import type { Bus } from "../src/runtime/ports.js";
import type { DeliveryJournal } from "./delivery-journal.js";
import type { NodeLanes } from "./lane-limits.js";
import type { Limits } from "./limits.js";
import type { PlacementView } from "./placement-view.js";

export interface NodeContext {
  readonly nodeId: string;
  /**
   * As this node is called now; another one after each lost lease. Membership alone
   * changes it, together with the actor system's name: read it where it is needed.
   */
  incarnation: string;
  /** Name of the datacenter, and its number 0…15 inside MsgIDs and generations. */
  readonly idc: string;
  readonly idcNumber: number;
  readonly version: string;
  /** Where clients reach this node's edge. */
  readonly edgeUrl: string;
  /** All ways there, where there are several; the one above is the first. */
  readonly edgeUrls?: readonly string[];
  readonly clock: Clock;
  readonly random: Random;
  readonly bus: Bus;
  readonly store: InboxStore;
  /** The bucket `placement`. */
  readonly placement: KeyValue;
  readonly apps: AppDirectory;
  readonly events: EventLog;
  readonly tokens: TokenVerifier;
  readonly transport: EdgeTransport;
  /** Absent: everybody is let in whom the limits let in. */
  readonly edgeAccess?: EdgeAccess;
  readonly edgeConditions?: EdgeConditions;
  readonly limits: Limits;
  readonly log: Log;
  /** Absent where steps are not to be journalled; what others wrote can be read all the same. */
  readonly journal?: DeliveryJournal;
  readonly journalStore?: JournalStore;
  readonly processes: Processes;
  readonly view: PlacementView;
  /** Absent where no lanes are worked on. */
  readonly lanes?: NodeLanes;
  /** Ends the process: what it holds can only be had again by another one. */
  readonly giveUp: (reason: string) => void;
}
