/** Log lines as JSON by pino, to standard error or a file. */
import { pino } from "pino";
import type { Log } from "../ports/log.js";

export function pinoLog(level: string, base: Record<string, unknown>): Log {
  const logger = pino({ level, base }, pino.destination({ dest: 2, sync: true }));
  return {
    debug: (event, fields) => logger.debug(fields ?? {}, event),
    info: (event, fields) => logger.info(fields ?? {}, event),
    warn: (event, fields) => logger.warn(fields ?? {}, event),
    error: (event, fields) => logger.error(fields ?? {}, event),
  };
}
