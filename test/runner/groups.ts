/** What there is to run, in this order, and what of the system each group needs. */
import { clientNeeds, databaseNeed, machineNeeds, type Need } from '../../src/launcher/packages.ts'

export type Group = { readonly name: string; readonly needs: readonly Need[]; readonly about: string }

const tool = (name: string, folder: string, from: string, why: string): Need => ({
  package: from,
  why,
  files: [`${folder}/${name}`, `/usr/local/bin/${name}`],
})
const curl = tool('curl', '/usr/bin', 'curl', 'speaks the documented lines word for word')
const fileSystems = tool('debugfs', '/usr/sbin', 'e2fsprogs', 'looks into the disks of guests')
const python = tool('python3', '/usr/bin', 'python3-minimal', 'plays a process whose first thread has ended')
const openssl = tool('openssl', '/usr/bin', 'openssl', 'makes certificates for agents of other hosts')

const database = [databaseNeed(false)]
const machines = [...machineNeeds, ...database]

export const checks = [
  { name: 'types', command: ['typescript/bin/tsc', '--noEmit'] },
  { name: 'format', command: ['@biomejs/biome/bin/biome', 'check', '--error-on-warnings', '.'] },
  { name: 'lint', command: ['oxlint/bin/oxlint', '--type-aware', 'src', 'test', 'contract', 'bench'] },
  { name: 'unused', command: ['knip/bin/knip.js'] },
] as const

/** Groups of one round run together; guests are started one after another, so they have a round of their own. */
export const rounds: readonly (readonly Group[])[] = [
  [
    { name: 'architecture', needs: [], about: 'one-way imports, sizes' },
    { name: 'unit', needs: machines, about: 'beside their subjects' },
    { name: 'conformance', needs: machines, about: 'what every storage driver passes' },
    {
      name: 'crash',
      needs: [...machines, fileSystems],
      about: 'every saga at every crash point, kills and power cuts of the storage',
    },
    { name: 'stories', needs: [...database, curl], about: 'whole stories, with storage and hosts in memory' },
  ],
  [
    { name: 'real', needs: [...machines, fileSystems, openssl, python], about: 'real guests and processes' },
    {
      name: 'campaigns',
      needs: [...machines, fileSystems],
      about: 'controller, agent, PostgreSQL and guest killed in real operations; a full pool',
    },
    { name: 'clients', needs: [...machines, ...clientNeeds], about: "OpenStack's own commands" },
  ],
]
