/**
 * Which subjects cross between the accounts of nats.conf: users.conf, the inside of the
 * platform's account, and apps.conf, an account for each app.
 *
 * An app's account has no JetStream and nobody else's subjects. It imports what names the
 * app from the platform's, and exports its uplinks. NATS checks no reply subject, and
 * JetStream answers wherever a publish says: an order to JetStream, or another app's push,
 * given as a reply subject, is now looked up in the account of the app that gave it.
 */
import { assert } from "../../base/assert.js";
import { type NatsUser, type NatsUsersSpec, usersOf } from "./nats-users.js";

/** As in nats.conf. A single server keeps an account's streams in a folder of its name. */
export const platformAccount = "CORE";
/** Of users without an account: where the platform's streams were before it had one. */
export const globalAccount = "$G";

const head = "# Generated at set-up; holds secrets. Changes here are overwritten.\n";
/**
 * An expiry bounds the server's memory of questions that stay unanswered. A client's call is
 * waited for a minute at most (callDeadlineMsMax).
 */
const answersOnce = { max: 1, expires: "65s" };

/** The text of users.conf, to be included in the platform's account. */
export function renderPlatform(spec: NatsUsersSpec): string {
  const users = usersOf(spec).filter(({ app }) => app === undefined);
  return `${head}${entries({
    users: users.map(userBlock),
    imports: spec.apps.map(({ app }) => uplinksOf(app)),
  })}`;
}

/** The text of apps.conf, to be included among the accounts. */
export function renderApps(spec: NatsUsersSpec): string {
  const accounts = usersOf(spec).flatMap((user) =>
    user.app === undefined ? [] : [[accountOf(user.app), accountBlock(user.app, user)] as const],
  );
  return `${head}${entries(Object.fromEntries(accounts))}`;
}

/** What an operator adds by hand for one app: an account, and an import of the platform's. */
export function appEntries(app: string, user: NatsUser): { account: string; uplinks: string } {
  return {
    account: entries({ [accountOf(app)]: accountBlock(app, user) }).trimEnd(),
    uplinks: json(uplinksOf(app)),
  };
}

function accountOf(app: string): string {
  return `APP_${app}`;
}

function accountBlock(app: string, user: NatsUser): object {
  const service = (subject: string) => ({ service: { account: platformAccount, subject } });
  const stream = (subject: string) => ({ stream: { account: platformAccount, subject } });
  return {
    users: [userBlock(user)],
    imports: [
      ...[`push.${app}.>`, `inbox.${app}.>`, `lane.*.${app}.>`].map(service),
      stream(`event.${app}.>`),
      { ...stream(`deliver.${app}.*`), to: `${user.inboxPrefix}.*` },
      // Which of them the app may publish: answers to what was delivered to it, no others.
      ...["$JS.ACK.EVENTS.>", "$JS.FC.EVENTS.>"].map(service),
    ],
    exports: [
      { service: uplinks(app), threshold: answersOnce.expires, accounts: [platformAccount] },
    ],
  };
}

function uplinksOf(app: string): object {
  return { service: { account: accountOf(app), subject: uplinks(app) } };
}

function uplinks(app: string): string {
  return `uplink.${app}.>`;
}

function userBlock({ user, password, publish, subscribe, mayAnswer }: NatsUser): object {
  return {
    user,
    password,
    permissions: {
      publish: { allow: publish },
      subscribe: { allow: subscribe },
      ...(mayAnswer ? { allow_responses: answersOnce } : {}),
    },
  };
}

/** nats-server's configuration takes JSON as it is. */
function entries(fields: Readonly<Record<string, object>>): string {
  return Object.entries(fields)
    .map(([name, value]) => `"${plain(name)}": ${json(value)}\n`)
    .join("");
}

function json(value: object): string {
  return JSON.stringify(value, (_, each) => (typeof each === "string" ? plain(each) : each), 2);
}

/** Nothing that is written here needs an escape, and nothing may bring one in. */
function plain(text: string): string {
  assert(/^[\x21\x23-\x5B\x5D-\x7E]+$/.test(text), "a text that the configuration cannot carry");
  return text;
}
