import { configDefaults, defineConfig } from 'vitest/config'
import { BaseSequencer, type TestSpecification } from 'vitest/node'

/** These take a minute and more; begun first, they leave no worker alone at the end. */
const slowest = [
  'real/story',
  'real/recover',
  'campaigns/rollback',
  'campaigns/snapshot',
  'real/reboot',
  'clients/whole-product',
  'real/demo',
  'real/agent/disks',
  'real/rollback-conflicts',
  'real/rollback-disks',
  'real/agent/merge-kills',
].map((name) => `/test/${name}.test.ts`)

class SlowestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const rank = ({ moduleId }: TestSpecification): number => {
      const at = slowest.findIndex((name) => moduleId.endsWith(name))
      return at < 0 ? slowest.length : at
    }
    return (await super.sort(files)).toSorted((one, other) => rank(one) - rank(other))
  }
}

/** A group of tests: what it may take at once, and for how long. `npm test -- <name>` runs one of them. */
const group = (name: string, include: string[], options: { isolate?: boolean; seconds?: number } = {}) => ({
  extends: true as const,
  test: {
    name,
    include,
    exclude: [...configDefaults.exclude, '**/*.spec.ts'],
    isolate: options.isolate ?? false,
    testTimeout: 1000 * (options.seconds ?? 120),
    hookTimeout: 1000 * Math.max(options.seconds ?? 0, 120),
  },
})

export default defineConfig({
  test: {
    globalSetup: ['test/support/global.ts'],
    // The machine may be busy; what is waited for comes, or the test's own deadline does.
    expect: { poll: { timeout: 60_000 } },
    pool: 'forks',
    maxWorkers: 2,
    sequence: { sequencer: SlowestFirst },
    projects: [
      group('unit', ['src/**/*.test.ts', 'contract/**/*.test.ts', 'test/support/**/*.test.ts']),
      group('architecture', ['test/architecture/**/*.test.ts']),
      group('stories', ['test/stories/**/*.test.ts'], { seconds: 240 }),
      group('conformance', ['test/conformance/**/*.test.ts'], { seconds: 240 }),
      group('crash', ['test/crash/**/*.test.ts'], { seconds: 240 }),
      group('real', ['test/real/**/*.test.ts'], { seconds: 900, isolate: true }),
      // SIGKILL at points of real operations: those that decide, and some that a seed draws; `npm run soak` takes all.
      group('campaigns', ['test/campaigns/**/*.test.ts'], { seconds: 900, isolate: true }),
      group('clients', ['test/clients/**/*.test.ts'], { seconds: 900, isolate: true }),
    ],
  },
})
