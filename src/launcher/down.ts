/** `npm run down`: stops what `npm start` started for this state, and nothing else. */
import { agentConfig, controllerConfig } from '../config.ts'
import { orExplain, say } from './say.ts'
import { takeDown } from './take-down.ts'

await orExplain(async () => {
  const did = await takeDown({ controller: controllerConfig(), agent: agentConfig() })
  say(did.length === 0 ? 'Nothing was running.' : did.join('\n'))
})
