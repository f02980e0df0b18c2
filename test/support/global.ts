/** Once per test run: names the folder in which tests may have a PostgreSQL started, and takes everything away at the end. */
import { chmod, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestProject } from 'vitest/node'
import { stopPostgres } from '../../src/adapters/database/postmaster.ts'

declare module 'vitest' {
  export interface ProvidedContext {
    postgresFolder: string
  }
}

export default async function setup({ provide }: TestProject): Promise<() => Promise<void>> {
  const folder = await mkdtemp(join(tmpdir(), 'comeback-test-'))
  await chmod(folder, 0o711) // PostgreSQL may run as another user
  provide('postgresFolder', folder)
  return async () => {
    await stopPostgres(join(folder, 'data'))
    await rm(folder, { recursive: true, force: true })
  }
}
