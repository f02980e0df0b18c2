/** `npm start`: everything set up, running, and filled with a demo; then says where it is and what to try. */
import { agentConfig, controllerConfig } from '../config.ts'
import { orExplain, say } from './say.ts'
import { seedDemo } from './seed.ts'
import { bringUp } from './up.ts'

await orExplain(async () => {
  const up = await bringUp({ controller: controllerConfig(), agent: agentConfig() })
  const demo = await seedDemo(up)
  say(up.parts.join(' · '))
  process.stdout.write(`
Comeback serves at ${up.url}

  OpenStack clients     apt-get install python3-openstackclient
                        export OS_CLIENT_CONFIG_FILE=${up.clouds} OS_CLOUD=comeback
                        (or: . ${up.openrc})
  logs                  ${up.places.state}/log

Try:
  openstack server list
  openstack server image create --name first ${demo}
  npm run comeback -- snapshots ${demo}
  npm run comeback -- rollback ${demo} first
  npm run demo          the whole story on a guest of its own, proved by what the guest says
  npm run down          stops everything again
`)
})
