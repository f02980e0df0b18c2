import { configDefaults, defineConfig } from 'vitest/config'

/** A group of tests: what it may take at once, and for how long. `npm test -- <name>` runs one of them. */
const group = (name: string, include: string[], options: { isolate?: boolean; seconds?: number; parallel?: boolean } = {}) => ({
  extends: true as const,
  test: {
    name,
    include,
    exclude: [...configDefaults.exclude, '**/*.spec.ts'],
    isolate: options.isolate ?? false,
    fileParallelism: options.parallel ?? true,
    testTimeout: 1000 * (options.seconds ?? 30),
    hookTimeout: 1000 * Math.max(options.seconds ?? 10, 60),
  },
})

export default defineConfig({
  test: {
    globalSetup: ['test/support/global.ts'],
    // The machine may be busy; what is waited for comes, or the test's own deadline does.
    expect: { poll: { timeout: 15_000 } },
    pool: 'forks',
    maxWorkers: 2,
    projects: [
      group('unit', ['src/**/*.test.ts', 'contract/**/*.test.ts', 'test/support/**/*.test.ts']),
      group('architecture', ['test/architecture/**/*.test.ts']),
      group('stories', ['test/stories/**/*.test.ts'], { seconds: 60 }),
      group('conformance', ['test/conformance/**/*.test.ts'], { seconds: 60 }),
      group('crash', ['test/crash/**/*.test.ts'], { seconds: 120 }),
      // Real guests are started one file after another: under emulation each of them takes a whole core.
      group('real', ['test/real/**/*.test.ts'], { seconds: 300, parallel: false, isolate: true }),
      // SIGKILL at points of real operations: those that decide, and some that a seed draws; `npm run soak` takes all.
      group('campaigns', ['test/campaigns/**/*.test.ts'], { seconds: 900, parallel: false, isolate: true }),
      group('clients', ['test/clients/**/*.test.ts'], { seconds: 300, parallel: false, isolate: true }),
    ],
  },
})
