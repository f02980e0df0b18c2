/** Many things under way at once, but not too many; the first failure ends all. */

/** Runs the tasks in order of their coming, at most `most` at once, and hands the results on in that order. */
export async function inOrder<Task, Result>(
  tasks: AsyncIterable<Task>,
  most: number,
  run: (task: Task) => Promise<Result>,
  take: (result: Result) => Promise<void>,
): Promise<void> {
  const running: Promise<Result>[] = []
  const first = async () => {
    const result = running.shift()
    if (result !== undefined) await take(await result)
  }
  try {
    for await (const task of tasks) {
      const result = run(task)
      result.catch(() => undefined)
      running.push(result)
      if (running.length >= most) await first()
    }
    while (running.length > 0) await first()
  } finally {
    await Promise.allSettled(running)
  }
}

/** At most so many at once; whoever came first goes first. */
export class Turns {
  #free: number
  readonly #waiting: (() => void)[] = []

  constructor(most: number) {
    this.#free = most
  }

  async take<Result>(work: () => Promise<Result>): Promise<Result> {
    if (this.#free > 0) this.#free--
    else await new Promise<void>((resolve) => this.#waiting.push(resolve))
    try {
      return await work()
    } finally {
      const next = this.#waiting.shift()
      if (next === undefined) this.#free++
      else next()
    }
  }
}
