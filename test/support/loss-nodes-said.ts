/** What the nodes of a loss test write into their logs that a judge must know. */
import { decodeToken } from "../../src/protocol/tokens.js";

interface LogLine {
  readonly msg?: string;
  /** `app.uid`, both as tokens. */
  readonly session?: string;
  readonly device?: string;
  readonly id?: string;
}

export class NodesSaid {
  /** Of the nodes. */
  readonly environment = { BELFRY_LOG_LEVEL: "warn" };
  onSetAside: (uid: string, device: string, id: string) => void = () => undefined;

  readonly onLog = (_node: string, line: string): void => {
    if (!line.includes("message set aside")) return;
    const { session = "", device = "", id = "" } = JSON.parse(line) as LogLine;
    const uid = decodeToken(session.slice(session.indexOf(".") + 1));
    if (uid !== undefined) this.onSetAside(uid, device, id);
  };
}
