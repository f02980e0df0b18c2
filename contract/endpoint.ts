/** How an endpoint is described: once, for the server that checks by it, the client that is typed by it and the OpenAPI page. */
import { z } from 'zod'
import type { RefusalCode } from '../src/domain/refusals.ts'

export const none = z.strictObject({})

/** `anyone`: without a token · `project`: within the caller's project · `admin`: role admin. */
export type Audience = 'anyone' | 'project' | 'admin'

/** `operation`: 202 with Location, or 200 with `Prefer: wait` · `events`: a stream. */
export type Gives = 'value' | 'operation' | 'events'

export type Endpoint<
  Params extends z.ZodType = z.ZodType,
  Query extends z.ZodType = z.ZodType,
  Body extends z.ZodType = z.ZodType,
  Answer extends z.ZodType = z.ZodType,
  Kind extends Gives = Gives,
> = {
  readonly id: string
  readonly method: 'GET' | 'POST' | 'PATCH' | 'DELETE'
  /** With `{names}` of `params` in it. */
  readonly path: `/v1/${string}`
  readonly noun: string
  readonly summary: string
  readonly description?: string
  readonly who: Audience
  readonly params: Params
  readonly query: Query
  readonly body: Body
  readonly answer: Answer
  readonly gives: Kind
  /** Beyond those that every endpoint may give. */
  readonly refusals: readonly RefusalCode[]
}

type Parts<Params, Query, Body, Answer, Kind> = Pick<Endpoint, 'method' | 'path' | 'noun' | 'summary' | 'description'> & {
  readonly who?: Audience
  readonly params?: Params
  readonly query?: Query
  readonly body?: Body
  readonly answer: Answer
  readonly gives?: Kind
  readonly refusals?: readonly RefusalCode[]
}

export function endpoint<
  Answer extends z.ZodType,
  Params extends z.ZodType = typeof none,
  Query extends z.ZodType = typeof none,
  Body extends z.ZodType = typeof none,
  Kind extends Gives = 'value',
>(id: string, parts: Parts<Params, Query, Body, Answer, Kind>): Endpoint<Params, Query, Body, Answer, Kind> {
  const { who = 'project', gives = 'value', refusals = [], params = none, query = none, body = none, ...rest } = parts
  return { id, who, gives, refusals, params, query, body, ...rest } as Endpoint<Params, Query, Body, Answer, Kind>
}

/** Refusals any endpoint with a token may give. */
export const everywhere = ['malformed', 'unauthenticated', 'forbidden', 'databaseUnavailable'] as const satisfies RefusalCode[]

/** What a caller passes: parts that may be empty may be left out. */
export type Request<E extends Endpoint> = Part<'params', z.input<E['params']>> &
  Part<'query', z.input<E['query']>> &
  Part<'body', z.input<E['body']>>
type Part<Name extends string, Value> =
  MayBeEmpty<Value> extends true ? { readonly [K in Name]?: Value } : { readonly [K in Name]: Value }
type MayBeEmpty<Value> = Value extends Record<string, never> ? true : Partial<Value> extends Value ? true : false
export type Answer<E extends Endpoint> = z.output<E['answer']>
