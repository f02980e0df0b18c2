/** `launch.ts up|down`: what `npm start` and `npm run down` do, without the demo. The result is one line of JSON. */
import { agentConfig, controllerConfig } from '../../src/config.ts'
import { orExplain } from '../../src/launcher/say.ts'
import { takeDown } from '../../src/launcher/take-down.ts'
import { bringUp } from '../../src/launcher/up.ts'

await orExplain(async () => {
  const settings = { controller: controllerConfig(), agent: agentConfig() }
  console.log(
    JSON.stringify(
      process.argv[2] === 'down'
        ? { did: await takeDown(settings, undefined, { leaveMachines: process.argv[3] === 'leave-machines' }) }
        : await bringUp(settings),
    ),
  )
})
