/** A storage that answers or fails in time: a blocked database holds up no connection. */
import type { Clock } from "../base/clock.js";
import type { DeviceStorage } from "./device-storage.js";

const answerWithinMs = 5_000;

/** What answers at once does so still. */
export function answeringInTime(storage: DeviceStorage, clock: Clock): DeviceStorage {
  const inTime = <Value>(answer: Value | Promise<Value>, what: string): Value | Promise<Value> => {
    if (!isPromise(answer)) return answer;
    return new Promise<Value>((resolve, reject) => {
      const cancel = clock.after(answerWithinMs, () => {
        reject(new Error(`the storage did not ${what} within ${answerWithinMs} ms`));
      });
      void Promise.resolve(answer).then(resolve, reject).finally(cancel);
    });
  };
  return {
    get: (key) => inTime(storage.get(key), `read ${key}`),
    set: (key, value) => inTime(storage.set(key, value), `write ${key}`),
  };
}

function isPromise<Value>(answer: Value | Promise<Value>): answer is Promise<Value> {
  return typeof (answer as Promise<Value> | undefined)?.then === "function";
}
