/**
 * WebSocket close codes. The range says what the client does: 4000-4499 come back
 * (with backoff), 4500-4999 do not (something must change first).
 * Every entry is documented in docs/protocol.md; a test holds the two together.
 */
export const closeCodes = {
  GOING_AWAY: { code: 4000, meaning: "the node is stopping; connect again" },
  HEARTBEAT_LOST: { code: 4001, meaning: "no answer to a heartbeat within its deadline" },
  SLOW_CONSUMER: { code: 4002, meaning: "the client reads more slowly than it is sent" },
  TOKEN_EXPIRED: { code: 4003, meaning: "the token has expired; come back with a fresh one" },
  HELLO_TIMEOUT: { code: 4004, meaning: "no hello within the handshake deadline" },
  OVERLOADED: { code: 4005, meaning: "the node sheds load; come back later" },
  INTERNAL: { code: 4006, meaning: "the connection's actor failed; nothing stored is lost" },
  QUOTA_EXCEEDED: {
    code: 4007,
    meaning: "the app has as many connections as it may; come back later",
  },
  AUTH_UNAVAILABLE: {
    code: 4008,
    meaning: "who vouches for the token cannot be asked now; come back later",
  },
  BAD_FRAME: { code: 4500, meaning: "a frame that does not decode, or with wrong types" },
  UNSUPPORTED: { code: 4501, meaning: "an unknown frame kind or protocol version" },
  HELLO_FIRST: { code: 4502, meaning: "a frame came before the hello" },
  FRAME_TOO_LARGE: { code: 4503, meaning: "a frame above the announced bound" },
  UNAUTHORIZED: { code: 4504, meaning: "the token is missing, forged or not for this app" },
  REPLACED: { code: 4505, meaning: "a newer connection of the same device took over" },
  ERASED: { code: 4506, meaning: "the user was erased; come back with a new sign-in only" },
  KICKED: { code: 4507, meaning: "told to stay away, and did not go by itself" },
} as const;

export type CloseName = keyof typeof closeCodes;

/** Undefined for what is none: a refusal may have a name of its own. */
export function closeCodeNamed(name: string): number | undefined {
  return Object.hasOwn(closeCodes, name) ? closeCodes[name as CloseName].code : undefined;
}

export function mayComeBack(code: number): boolean {
  return code < 4500 || code > 4999;
}
