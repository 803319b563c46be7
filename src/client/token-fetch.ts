/** Asks the app for a token, with a deadline: every ask ends. */
import type { Clock } from "../base/clock.js";
import { credentialOf } from "../protocol/credential.js";

/** Rejects with what `getToken` rejects with, or when `timeoutMs` have passed. */
export function fetchToken(
  { getToken, app }: { readonly getToken: () => Promise<string>; readonly app?: string },
  clock: Clock,
  timeoutMs: number,
): Promise<string> {
  return new Promise((resolve, reject) => {
    const cancel = clock.after(timeoutMs, () => {
      reject(new Error(`getToken gave no token within ${timeoutMs} ms`));
    });
    const asked = new Promise<string>((give) => give(getToken()));
    const shown = asked.then((token: unknown) => {
      if (typeof token !== "string" || token === "") throw new TypeError("getToken gave no text");
      return credentialOf(app, token);
    });
    void shown.then(resolve, reject).finally(cancel);
  });
}
