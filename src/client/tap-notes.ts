/**
 * Taps that a service worker writes down for the page that takes them up: one that is opened
 * by the tap hears nothing that was said before its device began, and the worker may be gone
 * by then. In the browser's Cache Storage, which both have.
 *
 * Bound: the last `notesMax`.
 */

/** The part of a browser's `caches` that is used. */
export interface TapStore {
  open(name: string): Promise<TapCache>;
}

interface TapCache {
  put(request: string, response: Response): Promise<void>;
  /** Oldest first. */
  keys(): Promise<readonly { readonly url: string }[]>;
  delete(request: string): Promise<boolean>;
}

const cacheName = "belfry-taps";
const folder = "/belfry-tap/";
const notesMax = 16;

const keyOf = (id: string): string => folder + encodeURIComponent(id);

/** Rejects as the browser does, which may forbid it. */
export async function noteTap(store: TapStore, id: string): Promise<void> {
  const cache = await store.open(cacheName);
  await cache.put(keyOf(id), new Response());
  const keys = await cache.keys();
  for (const { url } of keys.slice(0, -notesMax)) await cache.delete(url);
}

export async function forgetTap(store: TapStore, id: string): Promise<void> {
  await (await store.open(cacheName)).delete(keyOf(id));
}

/** What nobody took up yet; each is given to one page alone. */
export async function takeTaps(store: TapStore): Promise<string[]> {
  const cache = await store.open(cacheName);
  const ids: string[] = [];
  for (const { url } of await cache.keys()) {
    const id = decodeURIComponent(url.slice(url.lastIndexOf("/") + 1));
    if (await cache.delete(url)) ids.push(id);
  }
  return ids;
}
