import { z } from 'zod'

/** Yes or no in a body: JSON's own, or a word that clients send for it. */
export const flag = z.union([
  z.boolean(),
  z.stringFormat('boolean', /^(true|false|1|0)$/i).transform((text) => /^(true|1)$/i.test(text)),
])
