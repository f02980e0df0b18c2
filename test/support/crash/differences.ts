/** Where two states differ, in words for people. */

export function differences(actual: unknown, expected: unknown): string[] {
  const [a, b] = [flat(actual), flat(expected)]
  return [...new Set([...a.keys(), ...b.keys()])]
    .filter((path) => a.get(path) !== b.get(path))
    .map((path) => `${path}: ${a.get(path) ?? 'nothing'}, expected ${b.get(path) ?? 'nothing'}`)
    .sort()
}

const moment = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d/

/** Every leaf by its path. Moments are all equal: when something was so is not what is so. */
function flat(value: unknown, path = '', into = new Map<string, string>()): Map<string, string> {
  if (value instanceof Map) for (const [key, inner] of value) flat(inner, `${path}/${String(key)}`, into)
  else if (value !== null && typeof value === 'object')
    for (const [key, inner] of Object.entries(value)) flat(inner, `${path}/${key}`, into)
  else into.set(path, typeof value === 'string' && moment.test(value) ? 'a moment' : JSON.stringify(value ?? null))
  return into
}
