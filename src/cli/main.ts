import { runCli } from './program.ts'

const interrupted = new AbortController()
// The terminal and bootstrap.mjs both pass a Ctrl-C on; only one that comes later means "at once".
const repeatedWithinMs = 500
let first = 0
process.on('SIGINT', () => {
  if (first > 0 && Date.now() - first > repeatedWithinMs) process.exit(130)
  first ||= Date.now()
  interrupted.abort()
})
// A reader such as `head` that has seen enough.
process.stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : 1))

const { stdout: out, stderr: err, stdin, env } = process
process.exitCode = await runCli(process.argv.slice(2), { out, err, in: stdin, env, interrupted: interrupted.signal })
