import { execFile } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { connectAgent } from '../../../src/adapters/host-agent/connect.ts'
import { AgentProcess } from '../../support/agent-process.ts'
import { freePort } from '../../support/free-port.ts'

const run = promisify(execFile)
let folder: string
let agent: AgentProcess
let address: string

const file = (name: string): string => join(folder, name)
const tlsOf = (name: string, ca = 'ca') => ({
  keyFile: file(`${name}.key`),
  certFile: file(`${name}.crt`),
  caFile: file(`${ca}.crt`),
})

async function authority(name: string): Promise<void> {
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', file(`${name}.key`)]
  await run('openssl', ['req', '-x509', ...key, '-out', file(`${name}.crt`), '-days', '2', '-subj', `/CN=${name}`])
}

async function certificate(name: string, by: string): Promise<void> {
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', file(`${name}.key`)]
  await run('openssl', [
    'req',
    '-new',
    ...key,
    '-out',
    file(`${name}.csr`),
    '-subj',
    `/CN=${name}`,
    '-addext',
    'subjectAltName=IP:127.0.0.1',
  ])
  const signed = [
    '-CA',
    file(`${by}.crt`),
    '-CAkey',
    file(`${by}.key`),
    '-CAcreateserial',
    '-copy_extensions',
    'copy',
    '-days',
    '2',
  ]
  await run('openssl', ['x509', '-req', '-in', file(`${name}.csr`), ...signed, '-out', file(`${name}.crt`)])
}

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'comeback-tls-'))
  await Promise.all([authority('ca'), authority('stranger')])
  await certificate('agent', 'ca')
  await certificate('controller', 'ca')
  await certificate('impostor', 'stranger')
  const listen = `127.0.0.1:${await freePort()}`
  address = `https://${listen}`
  agent = await AgentProcess.start({
    COMEBACK_AGENT_LISTEN: listen,
    COMEBACK_AGENT_KEY: file('agent.key'),
    COMEBACK_AGENT_CERT: file('agent.crt'),
    COMEBACK_AGENT_CA: file('ca.crt'),
  })
})
afterAll(async () => {
  await agent.end()
  await rm(folder, { recursive: true, force: true })
})

test('between hosts the same calls go over mutual TLS', async () => {
  const client = connectAgent(address, tlsOf('controller'), 'here')
  expect(await client.host(null).hello()).toEqual(await agent.client.host().hello())
  const { id } = await agent.pool()
  const data = Buffer.alloc(3_000_000, 'x')
  const received = await client.upload(
    id,
    'over-tls',
    (async function* () {
      yield data
    })(),
  )
  expect(received).toMatchObject({ sizeBytes: data.length })
  const giveUp = new AbortController()
  const events = client.events(0, giveUp.signal)
  expect((await events.next()).value).toMatchObject({ type: 'resync' })
  giveUp.abort()
  client.close()
})

test.each([
  ['a client of another authority', 'impostor', 'ca'],
  ['an agent that is not of our authority', 'controller', 'stranger'],
])('%s gets nowhere', async (_, name, ca) => {
  const client = connectAgent(address, tlsOf(name, ca), 'here')
  await expect(client.host(null).hello()).rejects.toMatchObject({ code: 'hostUnreachable' })
  client.close()
})

test('a client without a certificate, or with an old TLS, gets nowhere', async () => {
  const { port, hostname } = new URL(address)
  const openssl = (...more: string[]) =>
    run('sh', [
      '-c',
      `printf 'GET /v1/events HTTP/1.0\r\n\r\n' | timeout 5 openssl s_client -quiet -connect ${hostname}:${port} -CAfile ${file('ca.crt')} ${more.join(' ')} 2>&1; true`,
    ])
  expect((await openssl()).stdout).not.toContain('200 OK')
  expect((await openssl('-tls1_2', '-cert', file('controller.crt'), '-key', file('controller.key'))).stdout).not.toContain(
    '200 OK',
  )
})
