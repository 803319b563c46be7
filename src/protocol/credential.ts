/**
 * What a client shows instead of a bare JSON Web Token: `<app>:<text>`, the name of the
 * app and, behind the first colon, whatever that app signs its users in with. A JWT says
 * itself whose it is and has no colon, so the two are never confused. Pure.
 */
export interface Credential {
  /** Absent where the text in front of a colon names no app, or there is no colon. */
  readonly app?: string;
  readonly text: string;
}

const named = /^([A-Za-z0-9_-]{1,64}):(.*)$/s;

export function readCredential(token: string): Credential {
  const [, app, text] = named.exec(token) ?? [];
  return app === undefined || text === undefined ? { text: token } : { app, text };
}

/** As a client sends it; the token alone where no app is to be named. */
export function credentialOf(app: string | undefined, token: string): string {
  return app === undefined ? token : `${app}:${token}`;
}
