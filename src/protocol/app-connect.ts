/**
 * The webhook that an app may have asked, in place of its secrets, who a client is.
 * docs/api.md has the contract.
 */
import { isMap } from "./codec.js";

export interface AppConnect {
  /** Absent where what is stored is no such URL: then nobody vouches for its clients. */
  readonly url?: string;
}

export const connectUrlBytesMax = 2_048;

/** What does not read leaves the app closed, never open to what its secrets sign. */
export function readConnect(value: unknown): AppConnect {
  if (!isMap(value)) return {};
  const { url, ...others } = value;
  return isConnectUrl(url) ? { ...others, url } : others;
}

/** http or https, without a user and a password: records are shown. */
export function isConnectUrl(text: unknown): text is string {
  if (typeof text !== "string" || text.length > connectUrlBytesMax || !URL.canParse(text)) {
    return false;
  }
  const { protocol, username, password, hash } = new URL(text);
  const isHttp = protocol === "https:" || protocol === "http:";
  return isHttp && username === "" && password === "" && hash === "";
}
