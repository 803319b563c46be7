/**
 * One string for each platform that devices name, instead of one a device: what comes over
 * the bus is a new string each time. Of odd names no more are kept than the bound.
 */
const namesMax = 64;
const known = new Map<string, string>();

export function sharedPlatform(platform: string): string {
  const shared = known.get(platform);
  if (shared !== undefined) return shared;
  if (known.size < namesMax) known.set(platform, platform);
  return platform;
}
