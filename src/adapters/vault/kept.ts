/** What the map has under the key, or is going to have; beyond `most` the oldest are forgotten, and what failed at once. */
export function kept<Value>(
  map: Map<string, Promise<Value>>,
  key: string,
  most: number,
  load: () => Promise<Value>,
): Promise<Value> {
  const there = map.get(key)
  if (there !== undefined) return there
  const value = load()
  map.set(key, value)
  value.catch(() => map.delete(key))
  for (const oldest of map.keys()) {
    if (map.size <= most) break
    map.delete(oldest)
  }
  return value
}
