/** A process that does one merge when told to, and may be killed at any moment. Arguments: stage as JSON, runtime directory. */
import { once } from 'node:events'
import { openStage, type Stage } from './merge-stage.ts'

const [stageText = '', runtime = ''] = process.argv.slice(2)
const stage: Stage = JSON.parse(stageText)
const driver = await openStage(stage, runtime)
process.stdout.write('ready\n')
await once(process.stdin, 'data')
await driver.merge(stage.merge)
process.stdout.write('done\n')
await driver.close()
process.exit(0)
