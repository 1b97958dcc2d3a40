/** What the app asks of a logger: pino has it, a test's array has it. Never code, output or secrets in `fields`. */
export interface Log {
  debug(fields: object, message: string): void
  info(fields: object, message: string): void
  warn(fields: object, message: string): void
  error(fields: object, message: string): void
}
