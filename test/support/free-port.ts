import { addressProblem } from '../../src/launcher/ports.ts'

/** Ports for each of the workers that run at once. */
const perWorker = 1_000

/**
 * Below the ports that the kernel gives to outgoing connections (from 32768), any of which may be taken the next moment; and in a
 * range of this worker's own, or two would find the same one free. `count`: so many in a row.
 */
export async function freePort(count = 1): Promise<number> {
  const worker = Number(process.env['VITEST_POOL_ID'] ?? 0) % 11
  const first = 21_000 + worker * perWorker
  for (;;) {
    const port = first + Math.floor(Math.random() * (perWorker - count))
    const ports = Array.from({ length: count }, (_, n) => port + n)
    const problems = await Promise.all(ports.map((at) => addressProblem({ host: '127.0.0.1', port: at })))
    if (problems.every((problem) => problem === null)) return port
  }
}
