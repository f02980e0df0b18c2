/** JSON as a jsonb column takes it: PostgreSQL's text knows neither NUL nor half a surrogate pair. */
export const jsonb = (value: unknown): string =>
  JSON.stringify(value ?? null, (_key, inner: unknown) =>
    typeof inner === 'string' ? inner.replaceAll('\0', '').toWellFormed() : inner,
  )
