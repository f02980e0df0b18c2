/** What people may call things: text that can be printed on one line. Markup is allowed; whoever shows it escapes it. */
import { z } from 'zod'

const unprintable = /[\p{Cc}\p{Cs}\p{Zl}\p{Zp}]/u

export const printable = (longest: number, shortest = 1) =>
  z
    .string()
    .max(longest)
    .refine((text) => !unprintable.test(text), { message: 'Only printable characters are allowed' })
    .refine((text) => text.trim().length >= shortest, { message: 'It may not be empty' })

/** Several lines are allowed. */
export const description = z
  .string()
  .max(255)
  .refine((text) => !/[^\P{Cc}\n\r\t]/u.test(text), { message: 'Only printable characters and line ends are allowed' })

const labelName = z
  .string()
  .min(1)
  .max(255)
  .regex(/^[a-zA-Z0-9\-_:. ]{1,255}$/, { message: 'A name has letters, digits, spaces and - _ : . only' })

/** Metadata: text by name. */
export const labels = z.record(labelName, z.string().max(255)).refine((all) => Object.keys(all).length <= 128, {
  message: 'At most 128 entries are allowed',
})
