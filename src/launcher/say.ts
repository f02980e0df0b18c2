/** What the launcher tells: on stderr, so that stdout stays what was asked for. A step says that it goes on once it takes long. */
const patience = 800

export const say = (text: string): void => {
  process.stderr.write(`${text}\n`)
}

export async function step<T>(what: string, work: () => Promise<T>): Promise<T> {
  const began = performance.now()
  const timer = setTimeout(() => say(`${what} ...`), patience)
  try {
    const result = await work()
    const took = performance.now() - began
    if (took > patience) say(`${what}: ${(took / 1000).toFixed(1)} s`)
    return result
  } finally {
    clearTimeout(timer)
  }
}

/** Ends the program with the sentence of what went wrong; only a defect of ours shows where it happened. */
export async function orExplain(work: () => Promise<void>): Promise<void> {
  try {
    await work()
  } catch (error) {
    const expected = error instanceof Error && (error.name === 'Refusal' || error.name === 'BadSetting')
    say(expected ? error.message : error instanceof Error ? (error.stack ?? error.message) : String(error))
    process.exitCode = 1
  }
}
