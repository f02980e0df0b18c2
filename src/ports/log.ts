/** Where the core says what happened, for operators. Facts first, as pino takes them; `requestId` binds what belongs together. */
export type Log = {
  readonly [Level in 'debug' | 'info' | 'warn' | 'error']: (facts: object, message: string) => void
}
