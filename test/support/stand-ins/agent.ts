/** Stands in for the agent where only starting and stopping is tested: it listens, and has no machines. */
import { rmSync } from 'node:fs'
import { createServer } from 'node:http'
import { agentConfig } from '../../../src/config.ts'

const { socket } = agentConfig()
rmSync(socket, { force: true })
const server = createServer((_, answer) => answer.end(JSON.stringify({ result: [] })))
server.listen(socket)
process.on('SIGTERM', () => server.close(() => process.exit(0)))
