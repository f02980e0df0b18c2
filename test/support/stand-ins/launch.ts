/** `launch.ts up|down|need`: the launcher itself, with stand-ins for what it starts. The result is one line of JSON. */
import { agentConfig, controllerConfig } from '../../../src/config.ts'
import { ensurePackages } from '../../../src/launcher/packages.ts'
import { findService } from '../../../src/launcher/processes.ts'
import { orExplain } from '../../../src/launcher/say.ts'
import { takeDown } from '../../../src/launcher/take-down.ts'
import { bringUp } from '../../../src/launcher/up.ts'

const programs = {
  agent: new URL('./agent.ts', import.meta.url).pathname,
  controller: new URL('./controller.ts', import.meta.url).pathname,
}

await orExplain(async () => {
  if (process.argv[2] === 'need') {
    await ensurePackages([{ package: 'no-such-package', why: 'cannot be had', files: ['/no/such/file'] }])
  }
  const settings = { controller: controllerConfig(), agent: agentConfig() }
  if (process.argv[2] === 'down') {
    console.log(JSON.stringify({ did: await takeDown(settings, programs) }))
    return
  }
  const up = await bringUp(settings, programs)
  const agent = await findService('agent', up.places.run, programs.agent)
  const controller = await findService('controller', up.places.run, programs.controller)
  console.log(JSON.stringify({ ...up, pids: { agent: agent?.pid, controller: controller?.pid } }))
})
