import type { ApiNeeds } from '../http/needs.ts'

/** What this face asks of the rest. */
export type NativeNeeds = Pick<ApiNeeds, 'db' | 'commands' | 'operations' | 'policy'>
