/** Where the SDK speaks to a person. Replace it with `createAttune({ logger })`. */
export interface Logger {
  info(message: string): void;
  warn(message: string): void;
  error(message: string): void;
}

/** Information on standard output, the rest on standard error. */
export const consoleLogger: Logger = {
  info: (message) => console.log(message),
  warn: (message) => console.warn(`warning: ${message}`),
  error: (message) => console.error(`error: ${message}`),
};

/** Keeps every message to itself. */
export const silentLogger: Logger = { info() {}, warn() {}, error() {} };
