/** The `comeback` command as a process of its own. */
import { spawn } from 'node:child_process'
import { join } from 'node:path'

const main = new URL('../../src/cli/main.ts', import.meta.url).pathname

export type Ran = { readonly code: number | null; readonly out: string; readonly err: string }

export type RunOptions = {
  readonly env?: Readonly<Record<string, string>>
  /** Ctrl-C once this was said on stderr. */
  readonly interruptAfter?: RegExp
  /** Standard input; left out: there is none. */
  readonly input?: string
}

/** Runs in that folder, which also keeps compiled code. */
export const comebackIn =
  (folder: string, signedIn: Readonly<Record<string, string>>) =>
  (args: readonly string[], { env = signedIn, interruptAfter, input }: RunOptions = {}): Promise<Ran> => {
    const { PATH = '' } = process.env
    const child = spawn(process.execPath, [main, ...args], {
      cwd: folder,
      env: { PATH, NODE_COMPILE_CACHE: join(folder, 'cache'), ...env },
      stdio: ['pipe', 'pipe', 'pipe'],
    })
    child.stdin.on('error', () => {}).end(input ?? '')
    let out = ''
    let err = ''
    let interrupted = false
    child.stdout.on('data', (chunk: Buffer) => {
      out += chunk
    })
    child.stderr.on('data', (chunk: Buffer) => {
      err += chunk
      if (interruptAfter?.test(err) && !interrupted) interrupted = child.kill('SIGINT')
    })
    return new Promise((resolve, reject) => {
      child.on('error', reject)
      child.on('close', (code) => resolve({ code, out, err }))
    })
  }

export const signInAs = (url: string, name: string, password: string, project: string) => ({
  OS_AUTH_URL: `${url}/identity/v3`,
  OS_USERNAME: name,
  OS_PASSWORD: password,
  OS_PROJECT_NAME: project,
})
