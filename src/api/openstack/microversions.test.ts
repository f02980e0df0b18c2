import type { FastifyReply, FastifyRequest } from 'fastify'
import { expect, test } from 'vitest'
import { negotiate, speaks } from './microversions.ts'

const versions = { service: 'compute', min: [2, 1], max: [2, 95], legacyHeader: 'X-OpenStack-Nova-API-Version' } as const

function ask(headers: Readonly<Record<string, string>>) {
  const answered: Record<string, string> = {}
  const request = { headers, microversion: null } as unknown as FastifyRequest
  const reply = {
    header: (name: string, value: string) => Object.assign(answered, { [name]: value }),
  } as unknown as FastifyReply
  negotiate(versions, request, reply)
  return { version: request.microversion.join('.'), answered, request }
}

test('no header is the oldest', () => {
  expect(ask({}).version).toBe('2.1')
})

test('the service is picked out of several, and the old header counts when the new one is silent', () => {
  expect(ask({ 'openstack-api-version': 'volume 3.70, compute 2.45' }).version).toBe('2.45')
  expect(ask({ 'x-openstack-nova-api-version': '2.30' }).version).toBe('2.30')
  expect(ask({ 'openstack-api-version': 'volume 3.70', 'x-openstack-nova-api-version': '2.30' }).version).toBe('2.30')
  expect(ask({ 'openstack-api-version': 'compute 2.45', 'x-openstack-nova-api-version': '2.30' }).version).toBe('2.45')
})

test('2.9 is older than 2.10', () => {
  const { request } = ask({ 'openstack-api-version': 'compute 2.9' })
  expect([speaks(request, 9), speaks(request, 10)]).toEqual([true, false])
})

test('what is answered says what is spoken, and that it depends on the headers', () => {
  expect(ask({ 'openstack-api-version': 'compute latest' }).answered).toEqual({
    vary: 'OpenStack-API-Version, X-OpenStack-Nova-API-Version',
    'openstack-api-version': 'compute 2.95',
    'x-openstack-nova-api-version': '2.95',
  })
})
