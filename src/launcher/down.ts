/**
 * `npm run down`: stops what `npm start` started for this state, and nothing else. Guests are shut down; with
 * `-- --leave-machines` they run on, and the next start takes them over.
 */
import { parseArgs } from 'node:util'
import { agentConfig, controllerConfig } from '../config.ts'
import { refuse } from '../domain/refusals.ts'
import { orExplain, say } from './say.ts'
import { takeDown } from './take-down.ts'

await orExplain(async () => {
  const did = await takeDown({ controller: controllerConfig(), agent: agentConfig() }, undefined, { leaveMachines: asked() })
  say(did.length === 0 ? 'Nothing was running.' : did.join('\n'))
})

function asked(): boolean {
  try {
    return parseArgs({ options: { 'leave-machines': { type: 'boolean' } } }).values['leave-machines'] ?? false
  } catch {
    throw refuse.setup({ why: 'usage: npm run down [-- --leave-machines]' })
  }
}
