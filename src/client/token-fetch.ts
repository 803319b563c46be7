/** Asks the app for a token, with a deadline: every ask ends. */
import type { Clock } from "../base/clock.js";

/** Rejects with what `getToken` rejects with, or when `timeoutMs` have passed. */
export function fetchToken(
  getToken: () => Promise<string>,
  clock: Clock,
  timeoutMs: number,
): Promise<string> {
  return new Promise((resolve, reject) => {
    const cancel = clock.after(timeoutMs, () => {
      reject(new Error(`getToken gave no token within ${timeoutMs} ms`));
    });
    const asked = new Promise<string>((give) => give(getToken()));
    const checked = asked.then((token: unknown) => {
      if (typeof token !== "string" || token === "") throw new TypeError("getToken gave no text");
      return token;
    });
    void checked.then(resolve, reject).finally(cancel);
  });
}
